"""The benchmarks at tiny sizes: the GPU command can be rehearsed on any machine, and the comparison with PyTorch finds faults."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy
import pytest

import tinytorch as tt
from benchmarks.gpu import command, contest, ours, worker
from benchmarks.gpu.device import described
from benchmarks.gpu.parts import PARTS
from benchmarks.gpu.workloads import Gpu, workload
from tinytorch.backend.contract import MemoryInfo
from tinytorch.evolution.recipes import Recipe
from tinytorch.models import MLP, LeNet1
from tinytorch.nn.module import Module
from tinytorch.vision import ImageData

H200, T4 = Gpu("bfloat16", 139.8), Gpu("float16", 14.6)


@pytest.mark.parametrize("part", ["nano", "decode"])
def test_a_comparison_can_be_rehearsed_and_is_saved(part: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    file = tmp_path / "gpu.json"
    assert command.main(["--rehearse", "--only", part, "--json", str(file)]) == 0, capfd.readouterr().err
    found = json.loads(file.read_text(encoding="utf-8"))["parts"][part]
    assert found["ended"] == "well"
    assert found["machine"]["rehearsal"] is True
    (row,) = found["rows"]
    assert row["peer"] == "torch"
    if part == "decode":
        assert row["same_tokens"] == row["tokens"]
    else:
        assert row["first_loss_ours"] == pytest.approx(row["first_loss_peer"], abs=1e-4)


@pytest.mark.parametrize("name", ["baby", "decode"])
def test_both_contestants_compute_in_float16_if_the_gpu_has_no_bfloat16(name: str, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    work = replace(workload(name, None), precision=workload(name, T4).precision)
    assert work.precision == "float16"
    weights = tmp_path / "weights.safetensors"
    ours.write_weights(work, weights)
    sides = [worker.contestant(side, work, weights, on_cpu=True)(work.turn) for side in ("ours", "torch")]
    if name == "decode":
        assert sides[0] == sides[1]
    else:
        assert sides[0] == pytest.approx(sides[1], abs=1e-2)


def test_gpt2_is_trained_with_a_smaller_batch_or_skipped_on_a_small_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [workload("gpt2", gpu).batch for gpu in (H200, T4)] == [8, 2]
    assert workload("gpt2", H200).precision == "bfloat16"
    assert workload("nano", T4) == workload("nano", H200)
    monkeypatch.setattr(contest, "gpu", lambda: Gpu("float16", 7.9))
    assert list(contest.compare("gpt2", False)) == [{"workload": "gpt2", "skipped": "it needs a GPU with 14 GiB, and this one has 7.9"}]


def test_the_gpu_is_described_by_its_backend() -> None:
    memory = MemoryInfo(used=0, total=15 * 2**30)
    t4 = SimpleNamespace(memory_info=lambda: memory, lacks_precision={"bfloat16": "it is too old"}.get)
    assert described(cast(Any, t4)) == Gpu("float16", 15.0)
    h200 = SimpleNamespace(memory_info=lambda: memory, lacks_precision=lambda name: None)
    assert described(cast(Any, h200)) == Gpu("bfloat16", 15.0)


def test_the_reason_why_a_contestant_fails_is_in_the_row(tmp_path: Path) -> None:
    work = replace(workload("nano", None), width=15)  # two heads
    theirs = contest.Contestant("ours", work, tmp_path / "no-weights", tiny=True)
    with pytest.raises(RuntimeError, match="ValueError"):
        theirs.turn(1)
    theirs.stop()


def test_rows_of_other_parts_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "gpu.json"
    file.write_text(json.dumps({"parts": {"checks": {"ended": "well", "rows": []}}}), encoding="utf-8")
    assert command.main(["--rehearse", "--only", "shakespeare", "--json", str(file)]) == 1  # no text was given
    parts = json.loads(file.read_text(encoding="utf-8"))["parts"]
    assert parts["checks"] == {"ended": "well", "rows": []}
    assert "--text" in parts["shakespeare"]["rows"][0]["refused"]


def test_a_part_is_killed_at_the_time_limit_and_its_rows_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "LIMIT", 0.2)
    file = tmp_path / "gpu.json"
    assert command.main(["--rehearse", "--only", "nano", "--json", str(file)]) == 1
    assert json.loads(file.read_text(encoding="utf-8"))["parts"]["nano"]["ended"] == "its 0.2 seconds were up"


def test_every_directory_of_tests_is_a_part() -> None:
    tests = Path(__file__).parent
    directories = {path.name for path in tests.iterdir() if path.is_dir() and list(path.rglob("test_*.py"))}
    assert {f"tests-{name}" for name in (*directories, "top")} <= set(PARTS)


def test_wheels_are_unpacked_and_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    with zipfile.ZipFile(tmp_path / "brought-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("brought.py", "print('brought along', file=__import__('sys').stderr)")
        wheel.writestr("sitecustomize.py", "import brought")
    assert command.main(["--rehearse", "--only", "shakespeare", "--wheels", str(tmp_path)]) == 1
    assert "brought along" in capfd.readouterr().err


def noise() -> ImageData:
    """Random images (64, 1, 8, 8) of 4 classes."""
    draw = numpy.random.default_rng(0)
    return ImageData(draw.integers(0, 256, (64, 1, 8, 8), dtype=numpy.uint8), draw.integers(0, 4, 64), tuple("abcd"), "noise")


def near_threshold(image: tuple[int, int, int], classes: int) -> Module:
    """An MLP whose first hidden unit has the input 1e-9 for every image: 0 up to rounding, compared with the others."""
    model = MLP(image[0] * image[1] * image[2], (16,), classes)
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    weight, bias = state["layers.0.weight"].copy(), state["layers.0.bias"].copy()
    weight[0], bias[0] = 0.0, 1e-9
    model.load_state_dict({**state, "layers.0.weight": weight, "layers.0.bias": bias})
    return model


def plain_mlp(image: tuple[int, int, int], classes: int) -> Module:
    return MLP(image[0] * image[1] * image[2], (16,), classes)


def shift_bias(layer: int, change: float) -> Callable[[Any], None]:
    """A function that adds ``change`` to the first bias of a layer of the PyTorch model."""

    def tamper(peer: Any) -> None:
        peer[layer].bias.data[0] += change

    return tamper


def raise_threshold(peer: Any) -> None:
    """Replace PyTorch's ReLU by one with threshold 1e-3."""
    torch = pytest.importorskip("torch")

    class Late(torch.nn.ReLU):  # type: ignore[misc, name-defined]
        def forward(self, x: Any) -> Any:
            return torch.nn.functional.threshold(x, 1e-3, 0.0)

    peer[2] = Late()


@pytest.fixture
def agreement(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A function that compares 20 steps in float32 with a PyTorch model that ``tamper`` has changed."""
    pytest.importorskip("torch", reason="PyTorch is not installed")
    from benchmarks import parity

    real = parity.torch_copy

    def compared(build: Callable[..., Module], tamper: Callable[[Any], None] = lambda peer: None) -> Any:
        def tampered(network: Module) -> Any:
            peer = real(network)
            tamper(peer)
            return peer

        monkeypatch.setattr(parity, "torch_copy", tampered)
        with tt.use_backend("numpy"):
            return parity.first_steps(Recipe("model", 0, build, 20, 16, 1e-2, "sgd"), noise(), 20, "float32")

    return compared


@pytest.mark.parametrize("build", [plain_mlp, lambda image, classes: LeNet1(image, classes)], ids=["MLP", "LeNet-1"])
def test_a_model_and_its_torch_copy_agree(build: Callable[..., Module], agreement: Callable[..., Any]) -> None:
    found = agreement(build)
    assert found.holds
    assert found.alike < 2e-6


def test_a_tie_is_not_a_fault_and_is_decided_alike(agreement: Callable[..., Any]) -> None:
    found = agreement(near_threshold, shift_bias(1, -2e-9))
    assert found.plain > 1e-4  # independent runs diverge
    assert found.holds
    assert found.alike < 2e-6
    first = found.differing[0]
    assert (first.step, first.layer, first.units) == (1, "layers.1", 16)  # one for each image of the batch
    assert first.margin == pytest.approx(1e-9)


@pytest.mark.parametrize(
    ("build", "tamper"),
    [(near_threshold, shift_bias(1, -1e-3)), (plain_mlp, shift_bias(1, 0.1)), (plain_mlp, raise_threshold)],
    ids=["shut by a bias", "moved by a bias", "shut by a threshold"],
)
def test_a_selection_that_differs_by_more_than_rounding_is_a_fault(
    build: Callable[..., Module], tamper: Callable[[Any], None], agreement: Callable[..., Any]
) -> None:
    found = agreement(build, tamper)
    assert not found.holds
    assert any(not differing.tie for differing in found.differing)
    assert "FAULT: step" in "\n".join(map(str, found.differing))


def test_different_losses_are_a_fault_even_if_all_selections_agree(agreement: Callable[..., Any]) -> None:
    found = agreement(lambda image, classes: MLP(image[1] * image[2], (), classes), shift_bias(1, 1e-2))
    assert found.differing == []
    assert not found.holds


@pytest.mark.parametrize("fault", [0.0, 1e-2])
def test_the_exit_code_is_1_if_a_model_disagrees(fault: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, agreement: Any) -> None:
    from benchmarks import parity

    real = parity.torch_copy

    def tampered(network: Module) -> Any:
        peer = real(network)
        shift_bias(1, fault)(peer)
        return peer

    monkeypatch.setattr(parity, "torch_copy", tampered)
    monkeypatch.setattr(parity, "load_images", lambda name, folder: (noise(), noise()))
    monkeypatch.setitem(parity.RECIPES, "digits", (Recipe("model", 0, plain_mlp, 20, 16, 1e-2, "sgd"),))
    file = tmp_path / "parity.json"
    assert parity.main(["--seeds", "1", "--json", str(file)]) == (1 if fault else 0)
    (row,) = json.loads(file.read_text(encoding="utf-8"))
    assert set(row["agreements"]) == {"float32, 20 steps", "float64, 100 steps"}
