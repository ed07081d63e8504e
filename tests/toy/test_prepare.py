# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Complete artifacts are used again, interrupted ones are made anew, and the same settings give the same bytes."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from verl_mapo.cli import app
from verl_mapo.toy import prepare as room
from verl_mapo.toy.dialogue import DemonstrationRates
from verl_mapo.toy.language import Stage
from verl_mapo.toy.prepare import Toy, prepare
from verl_mapo.toy.tiny_clip import ClipRecipe
from verl_mapo.toy.visual_search import VisualSearch
from verl_mapo.toy.warm_start import Recipe, WarmStart

ONE_STEP = Stage(1, 2, 1e-3)


@pytest.fixture
def small(monkeypatch):
    """A toy with every stage, one step each."""
    monkeypatch.setitem(room.RECIPES, "smoke", Recipe(4, ONE_STEP, ONE_STEP, ONE_STEP, ONE_STEP))
    monkeypatch.setitem(room.CLIPS, "smoke", ClipRecipe(4, ONE_STEP))
    monkeypatch.setitem(room._ROWS, "smoke", {"train": 2, "test": 2})


def artifacts(folder) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def test_complete_artifacts_are_used_again(small, tmp_path):
    toy = prepare(tmp_path, "qwen2_5_vl", "smoke")
    assert len(artifacts(tmp_path)) == 5
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.suffix != ".lock"}
    assert prepare(tmp_path, "qwen2_5_vl", "smoke") == toy
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.suffix != ".lock"} == before
    other = prepare(tmp_path, "qwen3_vl", "smoke")
    assert (other.train, other.clip) == (toy.train, toy.clip) and other.model != toy.model
    assert prepare(tmp_path, "qwen2_5_vl", "smoke", VisualSearch(letters=6)).train != toy.train
    assert prepare(tmp_path, "qwen2_5_vl", "smoke", seed=1).model != toy.model


def test_other_demonstrations_change_only_the_model(small, tmp_path):
    toy = prepare(tmp_path, "qwen2_5_vl", "smoke")
    shared = artifacts(tmp_path)
    assert prepare(tmp_path, "qwen2_5_vl", "smoke", demonstrations=DemonstrationRates()) == toy
    rare = prepare(tmp_path, "qwen2_5_vl", "smoke", demonstrations=DemonstrationRates(p_call=0.3, p_call_optional=0.3))
    assert artifacts(tmp_path) - shared == {rare.model.name}
    assert (rare.train, rare.test, rare.clip) == (toy.train, toy.test, toy.clip)


@pytest.mark.parametrize(
    ("options", "rates"),
    [
        ([], DemonstrationRates()),
        (["--tool-rate", "0.3"], DemonstrationRates(0.7, 0.3, 0.3)),
        (["--tool-rate", "0", "--tool-accuracy", "1"], DemonstrationRates(1.0, 0.0, 0.0)),
        (["--tool-accuracy", "0.5"], DemonstrationRates(0.5, 1.0, 0.5)),
    ],
)
def test_command_options_set_the_rates_of_the_demonstrations(options, rates, tmp_path, monkeypatch):
    arguments = {}
    monkeypatch.setattr(room, "prepare", lambda out, **given: arguments.update(given) or Toy(*[out] * 4))
    assert CliRunner().invoke(app, ["toy", "--out", str(tmp_path), *options]).exit_code == 0
    assert arguments["demonstrations"] == rates


@pytest.mark.parametrize("option", ["--tool-rate", "--tool-accuracy"])
def test_rate_above_one_is_an_error_that_names_the_option(option, tmp_path):
    done = CliRunner().invoke(app, ["toy", "--out", str(tmp_path), option, "1.5"])
    assert done.exit_code == 2 and option in done.output
    assert not artifacts(tmp_path)


def test_interrupted_stage_is_made_anew_with_the_same_bytes(small, tmp_path, monkeypatch):
    whole = prepare(tmp_path / "whole", "qwen3_vl", "smoke")
    original = WarmStart.dialogues

    def interrupted(self, start, out):
        (out / "half").write_text("written")
        raise KeyboardInterrupt

    monkeypatch.setattr(WarmStart, "dialogues", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare(tmp_path / "cut", "qwen3_vl", "smoke")
    stages = artifacts(tmp_path / "cut")
    assert len(stages) == 4
    monkeypatch.setattr(WarmStart, "dialogues", original)
    resumed = prepare(tmp_path / "cut", "qwen3_vl", "smoke")
    assert stages < artifacts(tmp_path / "cut")
    assert {path.name for path in resumed.model.iterdir()} == {path.name for path in whole.model.iterdir()}
    for folder, again in ((whole.model, resumed.model), (whole.clip, resumed.clip)):
        weights = "model.safetensors"
        assert (folder / weights).read_bytes() == (again / weights).read_bytes()


def test_invalid_setting_ends_the_command_with_a_message(tmp_path):
    done = CliRunner().invoke(app, ["toy", "--out", str(tmp_path), "--letters", "1"])
    assert done.exit_code == 2 and "letters" in done.output and "Traceback" not in done.output


def test_artifacts_keep_their_names():
    """The names of artifacts are hashes; a changed name makes every toy anew and must be deliberate."""
    recipe = room.RECIPES["smoke"]
    assert room._clip_key(room.CLIPS["smoke"]).keys() == {"scenes", "pace", "stored"}
    assert room._dialogues_key(recipe).keys() == {"dialogues", "habit", "demonstrations", "stored"}
