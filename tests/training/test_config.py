"""Settings of a run: presets, TOML files, and errors."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, asdict, replace
from pathlib import Path
from typing import Any

import pytest

from tinytorch.io.errors import InputError
from tinytorch.training import TrainingConfig
from tinytorch.training.config import PRESETS

SIZE = {"d_model", "num_heads", "num_layers", "block_size", "dropout"}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_a_config(name: str) -> None:
    config = TrainingConfig.from_preset(name)
    assert config.preset == name
    assert {field for field in SIZE if getattr(config, field) is None} == (SIZE if name == "finetune" else set())


def test_arguments_override_a_preset() -> None:
    config = TrainingConfig.from_preset("nano", steps=500, learning_rate=1)
    assert (config.steps, config.learning_rate, config.d_model) == (500, 1.0, 128)
    assert isinstance(config.learning_rate, float)
    assert replace(config, seed=3).seed == 3
    with pytest.raises(FrozenInstanceError):
        config.steps = 2  # type: ignore[misc]


def test_a_short_run_has_a_short_warmup_unless_warmup_steps_is_given() -> None:
    assert TrainingConfig.from_preset("nano").warmup_steps == 100
    assert TrainingConfig.from_preset("nano", steps=50).warmup_steps == 5
    assert TrainingConfig.from_preset("nano", steps=5).warmup_steps == 1
    assert TrainingConfig.from_preset("nano", steps=50, decay_steps=500).warmup_steps == 50
    assert TrainingConfig.from_preset("nano", steps=50, warmup_steps=20).warmup_steps == 20


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "`steps` must be an integer from 1 to 2147483647, got 0"),
        ({"steps": 1.5}, "`steps` must be an integer from 1 to 2147483647, got 1.5"),
        ({"batch_size": "4"}, "`batch_size` must be an integer from 1 to 2147483647, got '4'"),
        ({"eval_every": True}, "`eval_every` must be an integer"),
        ({"warmup_steps": None}, "`warmup_steps` must be an integer"),
        ({"num_heads": 3}, "`num_heads` must divide `d_model`, and 3 does not divide 128; try 2"),
        ({"accumulate": 5}, "`accumulate` must divide `batch_size`, and 5 does not divide 12"),
        ({"dropout": 1.0}, "`dropout` must be at least 0 and less than 1"),
        ({"dropout": "0.1"}, "`dropout` must be a number, got '0.1'"),
        ({"learning_rate": float("inf")}, "`learning_rate` must be a positive number"),
        ({"beta2": 1.0}, "`beta2` must be at least 0 and less than 1"),
        ({"seed": -1}, "`seed` must be an integer of 0 or more"),
        ({"precision": "float8"}, "`precision` must be float32, tf32, bfloat16 or float16, got 'float8'"),
        ({"checkpoint_activations": 1}, "`checkpoint_activations` must be True or False, got 1"),
    ],
)
def test_an_invalid_value_raises_an_error_that_names_the_setting(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        TrainingConfig.from_preset("nano", **changes)
    assert message in str(caught.value)


def test_an_unknown_preset_or_setting_raises_an_error() -> None:
    with pytest.raises(InputError, match="there is no preset 'huge'; choose one of nano, baby, gpt2, finetune"):
        TrainingConfig.from_preset("huge")
    with pytest.raises(TypeError, match="step"):
        TrainingConfig.from_preset("nano", step=5)


def test_settings_load_from_a_toml_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    preset = asdict(TrainingConfig.from_preset("nano"))
    path.write_text(
        "\n".join(f"{name} = {value!r}" for name, value in preset.items() if value is not None and value is not False), encoding="utf-8"
    )
    assert TrainingConfig.from_toml(path) == TrainingConfig.from_preset("nano")
    assert TrainingConfig.from_toml(path, steps=50).steps == 50


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("steps = ", "is not valid TOML"),
        ("steps = 5\nstep = 3", "mine.toml has unknown settings: step; known settings are"),
        ("steps = 5", "mine.toml lacks the settings batch_size, beta2, eval_every, learning_rate, warmup_steps"),
        (None, r"mine.toml cannot be read \(No such file or directory\)"),
    ],
)
def test_an_invalid_toml_file_raises_an_error_with_its_name(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "mine.toml").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        TrainingConfig.from_toml(tmp_path / "mine.toml")


def test_saved_settings_load_including_those_of_early_versions() -> None:
    config = TrainingConfig.from_preset("nano", steps=30)
    assert TrainingConfig.from_saved({**asdict(config), "vocabulary": 7}) == config
    early = {name: value for name, value in asdict(config).items() if name not in ("precision", "decay_steps")}
    assert TrainingConfig.from_saved(early) == config
    with pytest.raises(InputError, match="`seed` is missing"):
        TrainingConfig.from_saved({name: value for name, value in asdict(config).items() if name != "seed"})


def test_unset_settings_default_to_those_of_the_pretrained_model() -> None:
    model = {"d_model": 16, "num_heads": 2, "num_layers": 1, "max_length": 1024, "dropout": 0.3}
    config = TrainingConfig.from_preset("finetune").for_pretrained_model(model)
    assert [getattr(config, name) for name in ("d_model", "num_heads", "num_layers", "block_size", "dropout")] == [16, 2, 1, 256, 0.3]
    assert TrainingConfig.from_preset("finetune").for_pretrained_model({**model, "max_length": 8}).block_size == 8
    assert TrainingConfig.from_preset("finetune", block_size=4, dropout=0.0).for_pretrained_model(model).dropout == 0.0
    with pytest.raises(InputError, match="`block_size` must be at most the model's maximum length of 1024 tokens, got 2000"):
        TrainingConfig.from_preset("finetune", block_size=2000).for_pretrained_model(model)
    with pytest.raises(InputError, match="`init_from` determines the model's size; leave out `d_model`"):
        TrainingConfig.from_preset("finetune", d_model=16).for_pretrained_model(model)
