"""`tinytorch generate`: generated text and errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.tiny import TINY, Command


@pytest.fixture
def run(train: Command) -> str:
    assert train("--steps 2 --out run").code == 0
    return "run"


def test_the_same_seed_gives_the_same_text(tinytorch: Command, run: str) -> None:
    first, same, other = (tinytorch(f"generate run --prompt To --length 40 --seed {seed}") for seed in (1, 1, 2))
    assert (first.code, first.err) == (0, "")
    assert first.out.startswith("To")
    assert len(first.out) == len("To") + 40 + 1
    assert first.out == same.out != other.out


def test_without_a_seed_texts_differ(tinytorch: Command, run: str) -> None:
    assert tinytorch("generate run --length 40").out != tinytorch("generate run --length 40").out


def test_the_run_defaults_to_the_newest(train: Command, tinytorch: Command) -> None:
    train("--steps 1 --seed 1")
    train("--steps 1 --seed 2")
    newest = tinytorch("generate --length 30 --seed 5")
    assert newest.out == tinytorch("generate runs/play-002 --length 30 --seed 5").out
    assert newest.out != tinytorch("generate runs/play-001 --length 30 --seed 5").out


def test_temperature_zero_is_deterministic(tinytorch: Command, run: str) -> None:
    assert tinytorch("generate run --temperature 0").out == tinytorch("generate run --temperature 0").out


def test_samples_are_separated_by_a_line(tinytorch: Command, run: str) -> None:
    result = tinytorch("generate run --prompt be --length 10 --num-samples 3 --seed 1")
    samples = result.out.split("-" * 40 + "\n")
    assert len(samples) == 3
    assert len(set(samples)) == 3
    assert samples[1] == tinytorch("generate run --prompt be --length 10 --seed 2").out


def test_generation_ends_at_a_stop_string(tinytorch: Command, run: str) -> None:
    whole = tinytorch("generate run --prompt be --length 200 --seed 1").out[2:-1]
    assert tinytorch("generate", "run", "--prompt", "be", "--length", "200", "--seed", "1", "--stop", whole[50:52]).out == (
        "be" + whole[: whole.index(whole[50:52])] + "\n"
    )


def test_a_prompt_longer_than_the_context_is_cropped_with_a_message(tinytorch: Command, run: str) -> None:
    result = tinytorch("generate", "run", "--prompt", "to be, or not", "--seed", "1", "--length", "5")
    assert result.code == 0
    assert result.err == "The prompt is longer than the model's maximum length of 8 tokens; the first 5 are ignored.\n"
    assert result.out.startswith("to be, or not")


def test_unknown_characters_are_listed(tinytorch: Command, run: str) -> None:
    result = tinytorch("generate", "run", "--prompt", "Tö bé ö")
    assert (result.code, result.out) == (2, "")
    assert result.err == "error: the prompt has characters that are not in the tokenizer's vocabulary: 'ö' 'é'; leave them out\n"


def test_the_default_prompt_without_newlines_in_the_vocabulary(tinytorch: Command, workdir: Path) -> None:
    for name, text in (("spaces", "ab ba " * 50), ("letters", "abba" * 50)):
        (workdir / f"{name}.txt").write_text(text, encoding="utf-8")
        assert tinytorch("train", f"{name}.txt", *TINY, "--steps", "1").code == 0
        assert tinytorch("generate", f"runs/{name}-001", "--length", "5").code == 0


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--num-samples", "0"], "--num-samples must be 1 or more"),
        (["--length", "0"], "--length must be 1 or more"),
        (["--temperature", "-1"], "--temperature must be finite and at least 0"),
        (["--temperature", "nan"], "--temperature must be finite and at least 0"),
        (["--top-k", "0"], "--top-k must be at least 1"),
        (["--top-p", "1.5"], "--top-p must be in (0, 1]"),
        (["--seed", "-1"], "--seed must be at least 0"),
        (["--prompt", ""], "the prompt is empty"),
        (["--stop", ""], "--stop contains an empty text"),
        (["--backend", "tpu"], "unknown backend 'tpu'"),
        (["--temperature", "hot"], "--temperature"),
    ],
)
def test_values_out_of_range_print_one_line(tinytorch: Command, run: str, options: list[str], named: str) -> None:
    result = tinytorch("generate", "run", *options)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("error: ")
    assert result.err.count("\n") == 1
    assert named in result.err
