"""`tinytorch train`: what a run writes, and that it goes on exactly where it stopped."""

from __future__ import annotations

import errno
import json
import os
import signal
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy
import pytest

import tinytorch as tt
from tests.cli.runs import rows, same_run, same_weights, saved_step, start, wait_for_step
from tests.cli.tiny import TINY, Command
from tests.helpers import host
from tinytorch.backend.selection import ENVIRONMENT_VARIABLE
from tinytorch.io import locking
from tinytorch.io.files import load_arrays
from tinytorch.text import split_text
from tinytorch.training import Trainer
from tinytorch.training.run import Run
from tinytorch.training.run_directory import RunDirectory

FILES = ["config.json", "metrics.jsonl", "model.safetensors", "optimizer.safetensors", "tokenizer.json"]


def test_a_run_writes_its_files(train: Command, place: Path) -> None:
    result = train("--steps 20 --eval-every 6 --out run --seed 3")
    assert (result.code, result.err) == (0, "")
    present = sorted(path.name for path in (place / "run").iterdir())
    assert [name for name in present if name != "loss.svg"] == FILES
    config = json.loads((place / "run" / "config.json").read_text(encoding="utf-8"))
    assert config["backend"] == "numpy:cpu"
    assert config["training"]["seed"] == 3
    assert (config["training"]["decay_steps"], config["training"]["warmup_steps"]) == (None, 2)
    assert config["text"]["source"] == str(place / "play.txt")
    found = rows(place / "run")
    assert [row["step"] for row in found] == list(range(1, 21))
    for row in found:
        assert {"step", "train_loss", "learning_rate", "tokens_per_second"} <= row.keys()
        assert row["tokens_per_second"] > 0
    assert [row["step"] for row in found if "val_loss" in row] == [6, 12, 18, 20]


def test_the_last_val_loss_is_over_the_whole_held_out_tenth(train: Command, place: Path) -> None:
    train("--steps 12 --eval-every 5 --out run")
    with tt.use_backend("numpy"):
        directory = RunDirectory.open(place / "run")
        model = directory.model()
        _, held_out = split_text(directory.tokenizer().encode_array((place / "play.txt").read_text(encoding="utf-8")), 0.1)
        found = []
        for start in range(0, len(held_out) - 1, 8):
            window = held_out[start : start + 9]
            logits = host(model(window[None, :-1]))[0].astype("float64")
            found += list(numpy.log(numpy.exp(logits).sum(1)) - logits[numpy.arange(len(window) - 1), window[1:]])
    assert len(found) == len(held_out) - 1
    assert rows(place / "run")[-1]["val_loss"] == pytest.approx(numpy.mean(found), rel=1e-5)


def test_what_is_printed_fits_80_columns(train: Command) -> None:
    result = train("--steps 20 --eval-every 6 --out run")
    lines = result.out.splitlines()
    assert lines[0].startswith("Training a TinyGPT of")
    assert "step 6: validation loss" in result.out
    assert "Validation loss" in result.out
    assert "tinytorch generate run --prompt 'To '" in lines[-1]
    assert max(len(line) for line in lines[: lines.index("")]) <= 80


def test_without_a_text_it_learns_the_language_reference(tinytorch: Command, place: Path) -> None:
    result = tinytorch("train", *TINY, "--steps", "2")
    assert result.code == 0
    assert json.loads((place / "runs" / "python-001" / "config.json").read_text(encoding="utf-8"))["text"]["python"] == ".".join(
        map(str, sys.version_info[:3])
    )


def test_runs_count_up(train: Command, place: Path) -> None:
    for _ in range(2):
        train("--steps 1")
    assert sorted(path.name for path in (place / "runs").iterdir()) == ["play-001", "play-002"]


@pytest.mark.parametrize("stop", [20, 13])  # with and without a look at the same step
def test_stopped_and_resumed_is_straight_through_bit_for_bit(train: Command, tinytorch: Command, place: Path, stop: int) -> None:
    train("--steps 40 --eval-every 10 --decay-steps 50 --out straight")
    train(f"--steps {stop} --eval-every 10 --decay-steps 50 --out stopped")
    result = tinytorch("train --steps 40 --resume --out stopped")
    assert (result.code, result.err) == (0, "")
    same_weights(place / "straight", place / "stopped")
    told = [[(row["step"], row["train_loss"], row["learning_rate"]) for row in rows(place / name)] for name in ("straight", "stopped")]
    assert told[0] == told[1]


def test_resume_takes_the_newest_run_and_may_repeat_its_options(train: Command, tinytorch: Command, place: Path) -> None:
    train("--steps 2 --seed 4")
    result = tinytorch("train", "play.txt", *TINY, "--seed", "4", "--resume", "--steps", "3")
    assert (result.code, result.err) == (0, "")
    assert len(rows(place / "runs" / "play-001")) == 3


def test_resume_finds_the_text_from_anywhere(train: Command, tinytorch: Command, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train("--steps 2 --out run")
    (place / "elsewhere").mkdir()
    monkeypatch.chdir(place / "elsewhere")
    assert tinytorch("train --resume --out ../run --steps 3").code == 0
    (place / "play.txt").rename(place / "moved.txt")
    result = tinytorch("train --resume --out ../run --steps 4")
    assert result.code == 2
    assert "play.txt, the text of ../run, is gone; pass the path where it is now as TEXT" in result.err
    assert tinytorch("train ../moved.txt --resume --out ../run --steps 4").code == 0


def test_a_run_may_go_on_on_another_backend(train: Command, tinytorch: Command, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("array_api_strict", reason="the other backend here, array-api-strict, is not installed")
    train("--steps 2 --out run")
    assert "with strict:cpu" in tinytorch("train --resume --out run --steps 3 --backend strict").out
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "strict")
    assert "with strict:cpu" in tinytorch("train --resume --out run --steps 4").out
    monkeypatch.delenv(ENVIRONMENT_VARIABLE)
    assert "with numpy:cpu" in tinytorch("train --resume --out run --steps 5").out
    assert len(rows(place / "run")) == 5


def test_the_first_losses_of_numpy_and_strict_agree(train: Command, place: Path) -> None:
    pytest.importorskip("array_api_strict", reason="the other backend here, array-api-strict, is not installed")
    for name in ("numpy", "strict"):
        assert train(f"--steps 20 --backend {name} --out {name} --seed 2").code == 0
    ours, theirs = ([row["train_loss"] for row in rows(place / name)] for name in ("numpy", "strict"))
    numpy.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)


def test_accumulation_is_an_option(train: Command, place: Path) -> None:
    assert train("--steps 2 --accumulate 2 --dropout 0 --out parts").code == 0
    assert train("--steps 2 --dropout 0 --out whole").code == 0
    ours, theirs = ([row["train_loss"] for row in rows(place / name)] for name in ("parts", "whole"))
    assert ours == pytest.approx(theirs, rel=1e-5)


# ---- the learning rate ----


def rates(path: Path) -> list[float]:
    """The learning rate of each step, as a share of the highest."""
    return [row["learning_rate"] / 3e-3 for row in rows(path)]


def test_the_learning_rate_decays_to_where_the_run_ends(train: Command, place: Path) -> None:
    train("--steps 40 --out run")
    found = rates(place / "run")
    assert found[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert found[3:] == sorted(found[3:], reverse=True)
    assert found[-1] == pytest.approx(0.1)
    assert found[21] == pytest.approx(0.55)  # half of the way down, at half of the steps


def test_or_to_where_it_is_told(train: Command, tinytorch: Command, place: Path) -> None:
    train("--steps 8 --decay-steps 20 --out run")
    train("--steps 20 --out whole")
    assert tinytorch("train --resume --out run --steps 30").code == 0
    found = rates(place / "run")
    assert found[:20] == rates(place / "whole")
    assert found[20:] == pytest.approx([0.1] * 10)


def test_a_longer_resume_extends_the_decay(train: Command, tinytorch: Command, place: Path) -> None:
    train("--steps 20 --out run")
    train("--steps 40 --decay-steps 60 --out told")
    for name, further in (("run", "--steps 40"), ("told", "--steps 60 --decay-steps 50")):
        assert tinytorch(f"train --resume --out {name} {further}").code == 0
    found, told = rates(place / "run"), rates(place / "told")
    assert found[19] == pytest.approx(0.1)
    assert found[20] > 0.5
    assert found[20:] == sorted(found[20:], reverse=True)
    assert found[39] == pytest.approx(0.1)
    assert told[49:] == pytest.approx([0.1] * 11)


def test_a_run_from_before_keeps_its_decay(train: Command, tinytorch: Command, place: Path) -> None:
    train("--steps 4 --out run")
    path = place / "run" / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["training"].update(decay_steps=2000, warmup_steps=100)
    path.write_text(json.dumps(config), encoding="utf-8")
    assert tinytorch("train --resume --out run --steps 6").code == 0
    assert rates(place / "run")[4:] == pytest.approx([0.05, 0.06])


def test_the_checkpoint_is_written_before_anything_is_measured_or_sampled(
    train: Command, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[tuple[int, int]] = []

    def after_save(original: Any) -> Any:
        def call(self: Any, *args: Any, **settings: Any) -> Any:
            saved.append((saved_step(place / "run"), len(rows(place / "run"))))
            return original(self, *args, **settings)

        return call

    monkeypatch.setattr(Trainer, "evaluate", after_save(Trainer.evaluate))
    monkeypatch.setattr(Run, "sample", after_save(Run.sample))
    assert train("--steps 5 --eval-every 2 --out run").code == 0
    assert saved == [(step, step) for step in (2, 2, 4, 4, 5, 5)]


def test_permissions_stay(train: Command, place: Path) -> None:
    train("--steps 2 --eval-every 1 --out run")
    for name in FILES:
        (place / "run" / name).chmod(0o600)
    assert train("--resume --steps 4 --out run").code == 0
    assert {stat.S_IMODE((place / "run" / name).stat().st_mode) for name in FILES} == {0o600}


def test_a_file_system_without_locks_is_told(train: Command, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(descriptor: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locking, "_lock", lacking)
    for options in ("--steps 1", "--resume --steps 2"):
        result = train(f"{options} --out run")
        assert result.code == 0
        assert result.err == (
            "warning: run cannot be locked (No locks available): do not start a second process there, because it would not be refused\n"
        )


def test_a_curve_that_cannot_be_written_is_told(train: Command, place: Path) -> None:
    pytest.importorskip("matplotlib", reason="there is no curve without matplotlib")
    train("--steps 2 --out run")
    (place / "run" / "loss.svg").unlink()
    (place / "run" / "loss.svg").mkdir()
    result = train("--resume --steps 4 --out run")
    assert (result.code, result.err) == (0, "")
    assert "The curve could not be written to run/loss.svg (Is a directory)" in result.out


def test_it_runs_in_a_thread_which_gets_no_signals(train: Command, place: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(train, "--steps 2 --out run").result().code == 0


# ---- what happens to a process ----


@pytest.mark.skipif(os.name == "nt", reason="its pipes end otherwise")
def test_a_reader_that_has_seen_enough_stops_a_run_which_is_saved(train: Command, place: Path) -> None:
    process = start(place, "train", "play.txt", *TINY, "--steps", "1000000", "--eval-every", "10", "--out", "run")
    assert process.stdout is not None
    assert process.stderr is not None
    while "step 20:" not in process.stdout.readline():
        pass
    process.stdout.close()  # as `head` does
    done = saved_step(place / "run")
    error = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 1
    now = saved_step(place / "run")
    assert done <= now < 1000000
    assert error == (
        f"error: standard output cannot be written (Broken pipe). Stopped and saved at step {now:,}; "
        "go on with: tinytorch train --resume --out run\n"
    )
    assert len(rows(place / "run")) == now
    assert train(f"--resume --steps {now + 2} --out run").code == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_under_the_output_stops_a_run_which_is_saved(train: Command, place: Path) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        process = start(place, "train", "play.txt", *TINY, "--steps", "1000000", "--out", "run", stdout=full)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 1
    assert error.startswith("error: standard output cannot be written (No space left on device). Stopped and saved at step 1; go on with: ")
    assert saved_step(place / "run") == 1


def test_killed_between_checkpoints_and_resumed_is_straight_through_bit_for_bit(train: Command, tinytorch: Command, place: Path) -> None:
    process = start(place, "train", "play.txt", *TINY, "--steps", "1000000", "--decay-steps", "99", "--eval-every", "30", "--out", "killed")
    wait_for_step(process, place / "killed", 30)
    process.kill()
    process.communicate()
    done = int(load_arrays(place / "killed" / "optimizer.safetensors")[1]["step"])
    stop = done + 7
    result = tinytorch(f"train --resume --out killed --steps {stop}")
    assert (result.code, result.err) == (0, "")
    train(f"--steps {stop} --decay-steps 99 --eval-every 30 --out straight")
    same_run(place / "straight", place / "killed")


def test_ctrl_c_saves_and_says_how_to_go_on(train: Command, tinytorch: Command, place: Path) -> None:
    process = start(place, "train", "play.txt", *TINY, "--steps", "1000000", "--decay-steps", "99", "--eval-every", "25", "--out", "my run")
    wait_for_step(process, place / "my run", 25)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "")
    done = len(rows(place / "my run"))
    assert f"Stopped and saved at step {done:,}; go on with: tinytorch train --resume --out 'my run'" in out
    assert load_arrays(place / "my run" / "model.safetensors")[1]["step"] == str(done)
    stop = done + 5
    assert tinytorch("train", "--resume", "--out", "my run", "--steps", str(stop)).code == 0
    train(f"--steps {stop} --decay-steps 99 --eval-every 25 --out straight")
    same_weights(place / "straight", place / "my run")


def test_ctrl_c_on_a_longer_run_repeats_where_to_stop(train: Command, place: Path) -> None:
    train("--steps 2 --eval-every 25 --out run")
    process = start(place, "train", "--resume", "--out", "run", "--steps", "1000000", "--decay-steps", "99")
    wait_for_step(process, place / "run", 25)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "tinytorch train --resume --out run --steps 1000000 --decay-steps 99" in out


def test_a_full_disk_ends_in_one_sentence_and_spares_the_checkpoint(train: Command, place: Path) -> None:
    resource = pytest.importorskip("resource", reason="this system has no limits on file sizes to stand for a full disk")
    process = start(place, "train", "play.txt", *TINY, "--steps", "1000000", "--eval-every", "20", "--out", "run")
    wait_for_step(process, place / "run", 20)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    before = {path.name: path.read_bytes() for path in (place / "run").iterdir()}
    program = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000)); from tinytorch.cli import main; sys.exit(main())"
    )
    assert resource.RLIMIT_FSIZE is not None
    done = len(rows(place / "run"))
    finished = subprocess.run(
        [sys.executable, "-c", program, "train", "--resume", "--out", "run", "--steps", str(done + 3)],
        cwd=place,
        text=True,
        capture_output=True,
        check=False,
        env={**os.environ, ENVIRONMENT_VARIABLE: "numpy"},
    )
    assert finished.returncode == 1
    assert finished.stderr.count("\n") == 1
    assert finished.stderr.startswith("error: ")
    assert "File too large" in finished.stderr
    for name in ("model.safetensors", "optimizer.safetensors", "config.json", "tokenizer.json"):
        assert (place / "run" / name).read_bytes() == before[name]


def test_a_run_keeps_its_precision(train: Command, tinytorch: Command, place: Path) -> None:
    result = train("--steps 4 --decay-steps 6 --precision float16 --out rough")
    assert (result.code, result.err) == (0, "")
    assert json.loads((place / "rough" / "config.json").read_text(encoding="utf-8"))["training"]["precision"] == "float16"
    assert load_arrays(place / "rough" / "optimizer.safetensors")[0]["scaling"].shape == (3,)
    refused = train("--resume --out rough --steps 6 --precision float32")
    assert refused.code == 2
    assert "--precision float32 (the run has float16)" in refused.err
    assert train("--resume --out rough --steps 6").code == 0
    assert tinytorch("generate rough --length 5 --seed 0").code == 0
    whole = train("--steps 6 --precision float16 --out whole")
    assert whole.code == 0
    same_weights(place / "rough", place / "whole")


def test_a_precision_that_the_backend_lacks_is_refused_before_anything_is_written(train: Command, place: Path) -> None:
    result = train("--steps 4 --precision bfloat16 --out rough")
    assert result.code == 2
    assert "numpy:cpu cannot compute in bfloat16: it has no data type bfloat16; choose --precision float32 or float16" in result.err
    assert not (place / "rough").exists()
    assert "got 'float8'" in train("--precision float8 --out rough").err


def test_a_run_in_a_precision_that_this_backend_lacks_writes_in_float32_and_says_so(
    train: Command, tinytorch: Command, place: Path
) -> None:
    train("--steps 2 --out run")
    config = json.loads((place / "run" / "config.json").read_text(encoding="utf-8"))
    config["training"]["precision"] = "bfloat16"
    (place / "run" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    result = tinytorch("generate run --length 5 --seed 0")
    assert result.code == 0
    assert "trained in bfloat16, and numpy:cpu cannot: it has no data type bfloat16. Computing in float32" in result.err


def test_too_little_memory_ends_with_what_fits(train: Command, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forward = tt.nn.LayerNorm.forward

    def limited(layer: Any, x: Any) -> Any:
        if x.shape[0] > 2:
            raise MemoryError
        return forward(layer, x)

    monkeypatch.setattr(tt.nn.LayerNorm, "forward", limited)
    result = train("--steps 2 --batch-size 8 --out run")
    assert result.code == 2
    assert "--batch-size 8 with --block-size" in result.err
    assert "--accumulate 4 does, with 2 windows at a time" in result.err
