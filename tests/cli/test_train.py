"""`tinytorch train`: files, output, resuming, signals and errors."""

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
from tests.cli.runs import assert_same_run, assert_same_weights, rows, saved_step, start, wait_for_checkpoint
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


def test_a_run_writes_its_files(train: Command, workdir: Path) -> None:
    result = train("--steps 20 --eval-every 6 --out run --seed 3")
    assert (result.code, result.err) == (0, "")
    present = sorted(path.name for path in (workdir / "run").iterdir())
    assert [name for name in present if name != "loss.svg"] == FILES
    config = json.loads((workdir / "run" / "config.json").read_text(encoding="utf-8"))
    assert config["backend"] == "numpy:cpu"
    assert config["training"]["seed"] == 3
    assert (config["training"]["decay_steps"], config["training"]["warmup_steps"]) == (None, 2)
    assert config["text"]["source"] == str(workdir / "play.txt")
    found = rows(workdir / "run")
    assert [row["step"] for row in found] == list(range(1, 21))
    for row in found:
        assert {"step", "train_loss", "learning_rate", "tokens_per_second"} <= row.keys()
        assert row["tokens_per_second"] > 0
    assert [row["step"] for row in found if "val_loss" in row] == [6, 12, 18, 20]


def test_the_last_val_loss_is_over_the_whole_validation_split(train: Command, workdir: Path) -> None:
    train("--steps 12 --eval-every 5 --out run")
    with tt.use_backend("numpy"):
        directory = RunDirectory.open(workdir / "run")
        model = directory.model()
        _, held_out = split_text(directory.tokenizer().encode_array((workdir / "play.txt").read_text(encoding="utf-8")), 0.1)
        found = []
        for start in range(0, len(held_out) - 1, 8):
            window = held_out[start : start + 9]
            logits = host(model(window[None, :-1]))[0].astype("float64")
            found += list(numpy.log(numpy.exp(logits).sum(1)) - logits[numpy.arange(len(window) - 1), window[1:]])
    assert len(found) == len(held_out) - 1
    assert rows(workdir / "run")[-1]["val_loss"] == pytest.approx(numpy.mean(found), rel=1e-5)


def test_the_output_fits_80_columns(train: Command) -> None:
    result = train("--steps 20 --eval-every 6 --out run")
    lines = result.out.splitlines()
    assert lines[0].startswith("TinyGPT with")
    assert "step 6: validation loss" in result.out
    assert "Validation loss" in result.out
    assert "tinytorch generate run --prompt 'To '" in lines[-1]
    assert max(len(line) for line in lines[: lines.index("")]) <= 80


def test_the_text_defaults_to_the_language_reference(tinytorch: Command, workdir: Path) -> None:
    result = tinytorch("train", *TINY, "--steps", "2")
    assert result.code == 0
    assert json.loads((workdir / "runs" / "python-001" / "config.json").read_text(encoding="utf-8"))["text"]["python"] == ".".join(
        map(str, sys.version_info[:3])
    )


def test_default_run_directories_are_numbered(train: Command, workdir: Path) -> None:
    for _ in range(2):
        train("--steps 1")
    assert sorted(path.name for path in (workdir / "runs").iterdir()) == ["play-001", "play-002"]


@pytest.mark.parametrize("stop", [20, 13])  # with and without an evaluation at that step
def test_a_resumed_run_is_bit_identical_to_an_uninterrupted_run(train: Command, tinytorch: Command, workdir: Path, stop: int) -> None:
    train("--steps 40 --eval-every 10 --decay-steps 50 --out uninterrupted")
    train(f"--steps {stop} --eval-every 10 --decay-steps 50 --out stopped")
    result = tinytorch("train --steps 40 --resume --out stopped")
    assert (result.code, result.err) == (0, "")
    assert_same_weights(workdir / "uninterrupted", workdir / "stopped")
    metrics = [
        [(row["step"], row["train_loss"], row["learning_rate"]) for row in rows(workdir / name)] for name in ("uninterrupted", "stopped")
    ]
    assert metrics[0] == metrics[1]


def test_resume_defaults_to_the_newest_run_and_accepts_unchanged_options(train: Command, tinytorch: Command, workdir: Path) -> None:
    train("--steps 2 --seed 4")
    result = tinytorch("train", "play.txt", *TINY, "--seed", "4", "--resume", "--steps", "3")
    assert (result.code, result.err) == (0, "")
    assert len(rows(workdir / "runs" / "play-001")) == 3


def test_resume_finds_the_text_from_another_directory(
    train: Command, tinytorch: Command, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train("--steps 2 --out run")
    (workdir / "elsewhere").mkdir()
    monkeypatch.chdir(workdir / "elsewhere")
    assert tinytorch("train --resume --out ../run --steps 3").code == 0
    (workdir / "play.txt").rename(workdir / "moved.txt")
    result = tinytorch("train --resume --out ../run --steps 4")
    assert result.code == 2
    assert "play.txt, the text of ../run, does not exist; pass its current path as TEXT" in result.err
    assert tinytorch("train ../moved.txt --resume --out ../run --steps 4").code == 0


def test_a_run_can_be_resumed_on_another_backend(
    train: Command, tinytorch: Command, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("array_api_strict", reason="the other backend here, array-api-strict, is not installed")
    train("--steps 2 --out run")
    assert "backend strict:cpu" in tinytorch("train --resume --out run --steps 3 --backend strict").out
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "strict")
    assert "backend strict:cpu" in tinytorch("train --resume --out run --steps 4").out
    monkeypatch.delenv(ENVIRONMENT_VARIABLE)
    assert "backend numpy:cpu" in tinytorch("train --resume --out run --steps 5").out
    assert len(rows(workdir / "run")) == 5


def test_the_first_losses_of_numpy_and_strict_agree(train: Command, workdir: Path) -> None:
    pytest.importorskip("array_api_strict", reason="the other backend here, array-api-strict, is not installed")
    for name in ("numpy", "strict"):
        assert train(f"--steps 20 --backend {name} --out {name} --seed 2").code == 0
    ours, theirs = ([row["train_loss"] for row in rows(workdir / name)] for name in ("numpy", "strict"))
    numpy.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)


def test_accumulate_gives_the_same_losses(train: Command, workdir: Path) -> None:
    assert train("--steps 2 --accumulate 2 --dropout 0 --out accumulated").code == 0
    assert train("--steps 2 --dropout 0 --out whole").code == 0
    ours, theirs = ([row["train_loss"] for row in rows(workdir / name)] for name in ("accumulated", "whole"))
    assert ours == pytest.approx(theirs, rel=1e-5)


# ---- the learning rate ----


def relative_rates(path: Path) -> list[float]:
    """The learning rate of each step, divided by the maximum."""
    return [row["learning_rate"] / 3e-3 for row in rows(path)]


def test_the_learning_rate_decays_until_the_last_step(train: Command, workdir: Path) -> None:
    train("--steps 40 --out run")
    found = relative_rates(workdir / "run")
    assert found[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert found[3:] == sorted(found[3:], reverse=True)
    assert found[-1] == pytest.approx(0.1)
    assert found[21] == pytest.approx(0.55)  # half of the decay, at half of the steps


def test_decay_steps_sets_the_end_of_the_decay(train: Command, tinytorch: Command, workdir: Path) -> None:
    train("--steps 8 --decay-steps 20 --out run")
    train("--steps 20 --out whole")
    assert tinytorch("train --resume --out run --steps 30").code == 0
    found = relative_rates(workdir / "run")
    assert found[:20] == relative_rates(workdir / "whole")
    assert found[20:] == pytest.approx([0.1] * 10)


def test_a_longer_resume_extends_the_decay(train: Command, tinytorch: Command, workdir: Path) -> None:
    train("--steps 20 --out run")
    train("--steps 40 --decay-steps 60 --out explicit")
    for name, options in (("run", "--steps 40"), ("explicit", "--steps 60 --decay-steps 50")):
        assert tinytorch(f"train --resume --out {name} {options}").code == 0
    found, explicit = relative_rates(workdir / "run"), relative_rates(workdir / "explicit")
    assert found[19] == pytest.approx(0.1)
    assert found[20] > 0.5
    assert found[20:] == sorted(found[20:], reverse=True)
    assert found[39] == pytest.approx(0.1)
    assert explicit[49:] == pytest.approx([0.1] * 11)


def test_a_run_of_an_early_version_keeps_its_decay(train: Command, tinytorch: Command, workdir: Path) -> None:
    train("--steps 4 --out run")
    path = workdir / "run" / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["training"].update(decay_steps=2000, warmup_steps=100)
    path.write_text(json.dumps(config), encoding="utf-8")
    assert tinytorch("train --resume --out run --steps 6").code == 0
    assert relative_rates(workdir / "run")[4:] == pytest.approx([0.05, 0.06])


def test_the_checkpoint_is_written_before_evaluation_and_sampling(train: Command, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[tuple[int, int]] = []

    def after_save(original: Any) -> Any:
        def call(self: Any, *args: Any, **settings: Any) -> Any:
            saved.append((saved_step(workdir / "run"), len(rows(workdir / "run"))))
            return original(self, *args, **settings)

        return call

    monkeypatch.setattr(Trainer, "evaluate", after_save(Trainer.evaluate))
    monkeypatch.setattr(Run, "sample", after_save(Run.sample))
    assert train("--steps 5 --eval-every 2 --out run").code == 0
    assert saved == [(step, step) for step in (2, 2, 4, 4, 5, 5)]


def test_file_permissions_are_preserved(train: Command, workdir: Path) -> None:
    train("--steps 2 --eval-every 1 --out run")
    for name in FILES:
        (workdir / "run" / name).chmod(0o600)
    assert train("--resume --steps 4 --out run").code == 0
    assert {stat.S_IMODE((workdir / "run" / name).stat().st_mode) for name in FILES} == {0o600}


def test_a_file_system_without_locks_prints_a_warning(train: Command, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(descriptor: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locking, "_lock", lacking)
    for options in ("--steps 1", "--resume --steps 2"):
        result = train(f"{options} --out run")
        assert result.code == 0
        assert result.err == ("warning: run cannot be locked (No locks available); make sure that no other process writes to it\n")


def test_an_unwritable_curve_is_reported(train: Command, workdir: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    train("--steps 2 --out run")
    (workdir / "run" / "loss.svg").unlink()
    (workdir / "run" / "loss.svg").mkdir()
    result = train("--resume --steps 4 --out run")
    assert (result.code, result.err) == (0, "")
    assert "The loss curve could not be written to run/loss.svg (Is a directory)" in result.out


def test_training_works_in_a_thread(train: Command, workdir: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(train, "--steps 2 --out run").result().code == 0


# ---- processes and signals ----


@pytest.mark.skipif(os.name == "nt", reason="pipes end differently on Windows")
def test_a_closed_pipe_stops_and_saves_a_run(train: Command, workdir: Path) -> None:
    process = start(workdir, "train", "play.txt", *TINY, "--steps", "1000000", "--eval-every", "10", "--out", "run")
    assert process.stdout is not None
    assert process.stderr is not None
    while "step 20:" not in process.stdout.readline():
        pass
    process.stdout.close()  # as `head` does
    done = saved_step(workdir / "run")
    error = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 1
    now = saved_step(workdir / "run")
    assert done <= now < 1000000
    assert error == (
        f"error: standard output cannot be written (Broken pipe). Stopped and saved at step {now:,}; "
        "resume with: tinytorch train --resume --out run\n"
    )
    assert len(rows(workdir / "run")) == now
    assert train(f"--resume --steps {now + 2} --out run").code == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_of_standard_output_stops_and_saves_a_run(train: Command, workdir: Path) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        process = start(workdir, "train", "play.txt", *TINY, "--steps", "1000000", "--out", "run", stdout=full)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 1
    assert error.startswith(
        "error: standard output cannot be written (No space left on device). Stopped and saved at step 1; resume with: "
    )
    assert saved_step(workdir / "run") == 1


def test_a_run_killed_between_checkpoints_resumes_bit_identically(train: Command, tinytorch: Command, workdir: Path) -> None:
    process = start(
        workdir, "train", "play.txt", *TINY, "--steps", "1000000", "--decay-steps", "99", "--eval-every", "30", "--out", "killed"
    )
    wait_for_checkpoint(process, workdir / "killed", 30)
    process.kill()
    process.communicate()
    done = int(load_arrays(workdir / "killed" / "optimizer.safetensors")[1]["step"])
    stop = done + 7
    result = tinytorch(f"train --resume --out killed --steps {stop}")
    assert (result.code, result.err) == (0, "")
    train(f"--steps {stop} --decay-steps 99 --eval-every 30 --out uninterrupted")
    assert_same_run(workdir / "uninterrupted", workdir / "killed")


def test_ctrl_c_saves_and_prints_the_command_to_resume(train: Command, tinytorch: Command, workdir: Path) -> None:
    process = start(
        workdir, "train", "play.txt", *TINY, "--steps", "1000000", "--decay-steps", "99", "--eval-every", "25", "--out", "my run"
    )
    wait_for_checkpoint(process, workdir / "my run", 25)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "")
    done = len(rows(workdir / "my run"))
    assert f"Stopped and saved at step {done:,}; resume with: tinytorch train --resume --out 'my run'" in out
    assert load_arrays(workdir / "my run" / "model.safetensors")[1]["step"] == str(done)
    stop = done + 5
    assert tinytorch("train", "--resume", "--out", "my run", "--steps", str(stop)).code == 0
    train(f"--steps {stop} --decay-steps 99 --eval-every 25 --out uninterrupted")
    assert_same_weights(workdir / "uninterrupted", workdir / "my run")


def test_the_command_to_resume_repeats_changed_options(train: Command, workdir: Path) -> None:
    train("--steps 2 --eval-every 25 --out run")
    process = start(workdir, "train", "--resume", "--out", "run", "--steps", "1000000", "--decay-steps", "99")
    wait_for_checkpoint(process, workdir / "run", 25)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "tinytorch train --resume --out run --steps 1000000 --decay-steps 99" in out


def test_a_full_disk_prints_one_line_and_keeps_the_checkpoint(train: Command, workdir: Path) -> None:
    resource = pytest.importorskip("resource", reason="this system has no file size limits, which simulate a full disk")
    process = start(workdir, "train", "play.txt", *TINY, "--steps", "1000000", "--eval-every", "20", "--out", "run")
    wait_for_checkpoint(process, workdir / "run", 20)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    before = {path.name: path.read_bytes() for path in (workdir / "run").iterdir()}
    program = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000)); from tinytorch.cli import main; sys.exit(main())"
    )
    assert resource.RLIMIT_FSIZE is not None
    done = len(rows(workdir / "run"))
    finished = subprocess.run(
        [sys.executable, "-c", program, "train", "--resume", "--out", "run", "--steps", str(done + 3)],
        cwd=workdir,
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
        assert (workdir / "run" / name).read_bytes() == before[name]


def test_a_run_keeps_its_precision(train: Command, tinytorch: Command, workdir: Path) -> None:
    result = train("--steps 4 --decay-steps 6 --precision float16 --out half")
    assert (result.code, result.err) == (0, "")
    assert json.loads((workdir / "half" / "config.json").read_text(encoding="utf-8"))["training"]["precision"] == "float16"
    assert load_arrays(workdir / "half" / "optimizer.safetensors")[0]["scaling"].shape == (3,)
    result = train("--resume --out half --steps 6 --precision float32")
    assert result.code == 2
    assert "--precision float32 (the run has float16)" in result.err
    assert train("--resume --out half --steps 6").code == 0
    assert tinytorch("generate half --length 5 --seed 0").code == 0
    whole = train("--steps 6 --precision float16 --out whole")
    assert whole.code == 0
    assert_same_weights(workdir / "half", workdir / "whole")


def test_an_unsupported_precision_is_rejected_before_anything_is_written(train: Command, workdir: Path) -> None:
    result = train("--steps 4 --precision bfloat16 --out half")
    assert result.code == 2
    assert "numpy:cpu cannot compute in bfloat16: it has no data type bfloat16; choose --precision float32 or float16" in result.err
    assert not (workdir / "half").exists()
    assert "got 'float8'" in train("--precision float8 --out half").err


def test_generation_falls_back_to_float32_with_a_message(train: Command, tinytorch: Command, workdir: Path) -> None:
    train("--steps 2 --out run")
    config = json.loads((workdir / "run" / "config.json").read_text(encoding="utf-8"))
    config["training"]["precision"] = "bfloat16"
    (workdir / "run" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    result = tinytorch("generate run --length 5 --seed 0")
    assert result.code == 0
    assert "trained in bfloat16, which numpy:cpu does not support: it has no data type bfloat16. Using float32" in result.err


def test_an_out_of_memory_error_names_sizes_that_fit(train: Command, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forward = tt.nn.LayerNorm.forward

    def limited(layer: Any, x: Any) -> Any:
        if x.shape[0] > 2:
            raise MemoryError
        return forward(layer, x)

    monkeypatch.setattr(tt.nn.LayerNorm, "forward", limited)
    result = train("--steps 2 --batch-size 8 --out run")
    assert result.code == 2
    assert "--batch-size 8 with --block-size" in result.err
    assert "--accumulate 4 (2 windows per microbatch)" in result.err
