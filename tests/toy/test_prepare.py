# Copyright 2026 The verl_mapo authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""What is finished is kept, what was cut is redone, and the same settings give the same bytes."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from verl_mapo.cli import app
from verl_mapo.toy import prepare as room
from verl_mapo.toy.dialogue import Demonstrations
from verl_mapo.toy.language import Pace
from verl_mapo.toy.prepare import Toy, prepare
from verl_mapo.toy.tiny_clip import ClipRecipe
from verl_mapo.toy.visual_search import VisualSearch
from verl_mapo.toy.warm_start import Recipe, WarmStart

PACE = Pace(1, 2, 1e-3)


@pytest.fixture
def small(monkeypatch):
    """Every stage there is, one step each."""
    monkeypatch.setitem(room.RECIPES, "smoke", Recipe(4, PACE, PACE, PACE, PACE))
    monkeypatch.setitem(room.CLIPS, "smoke", ClipRecipe(4, PACE))
    monkeypatch.setitem(room._ROWS, "smoke", {"train": 2, "test": 2})


def artifacts(folder) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def test_finished_artifacts_are_kept(small, tmp_path):
    toy = prepare(tmp_path, "qwen2_5_vl", "smoke")
    assert len(artifacts(tmp_path)) == 5
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.suffix != ".lock"}
    assert prepare(tmp_path, "qwen2_5_vl", "smoke") == toy
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.suffix != ".lock"} == before
    other = prepare(tmp_path, "qwen3_vl", "smoke")
    assert (other.train, other.clip) == (toy.train, toy.clip) and other.model != toy.model
    assert prepare(tmp_path, "qwen2_5_vl", "smoke", VisualSearch(letters=6)).train != toy.train
    assert prepare(tmp_path, "qwen2_5_vl", "smoke", seed=1).model != toy.model


def test_other_demonstrations_make_another_model_and_share_all_else(small, tmp_path):
    toy = prepare(tmp_path, "qwen2_5_vl", "smoke")
    shared = artifacts(tmp_path)
    assert prepare(tmp_path, "qwen2_5_vl", "smoke", demonstrations=Demonstrations()) == toy
    rare = prepare(tmp_path, "qwen2_5_vl", "smoke", demonstrations=Demonstrations(p_call=0.3, p_call_optional=0.3))
    assert artifacts(tmp_path) - shared == {rare.model.name}
    assert (rare.train, rare.test, rare.clip) == (toy.train, toy.test, toy.clip)


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ([], Demonstrations()),
        (["--tool-rate", "0.3"], Demonstrations(0.7, 0.3, 0.3)),
        (["--tool-rate", "0", "--tool-accuracy", "1"], Demonstrations(1.0, 0.0, 0.0)),
        (["--tool-accuracy", "0.5"], Demonstrations(0.5, 1.0, 0.5)),
    ],
)
def test_the_options_of_the_command_are_rates_of_the_demonstrations(options, shown, tmp_path, monkeypatch):
    asked = {}
    monkeypatch.setattr(room, "prepare", lambda out, **what: asked.update(what) or Toy(*[out] * 4))
    assert CliRunner().invoke(app, ["toy", "--out", str(tmp_path), *options]).exit_code == 0
    assert asked["demonstrations"] == shown


@pytest.mark.parametrize("option", ["--tool-rate", "--tool-accuracy"])
def test_a_rate_that_is_none_is_refused_by_name(option, tmp_path):
    done = CliRunner().invoke(app, ["toy", "--out", str(tmp_path), option, "1.5"])
    assert done.exit_code == 2 and option in done.output
    assert not artifacts(tmp_path)


def test_a_cut_stage_is_redone_and_gives_the_same_bytes(small, tmp_path, monkeypatch):
    whole = prepare(tmp_path / "whole", "qwen3_vl", "smoke")
    finish = WarmStart.dialogues

    def cut(self, start, out):
        (out / "half").write_text("written")
        raise KeyboardInterrupt

    monkeypatch.setattr(WarmStart, "dialogues", cut)
    with pytest.raises(KeyboardInterrupt):
        prepare(tmp_path / "cut", "qwen3_vl", "smoke")
    stages = artifacts(tmp_path / "cut")
    assert len(stages) == 4
    monkeypatch.setattr(WarmStart, "dialogues", finish)
    resumed = prepare(tmp_path / "cut", "qwen3_vl", "smoke")
    assert stages < artifacts(tmp_path / "cut")
    assert {path.name for path in resumed.model.iterdir()} == {path.name for path in whole.model.iterdir()}
    for folder, again in ((whole.model, resumed.model), (whole.clip, resumed.clip)):
        weights = "model.safetensors"
        assert (folder / weights).read_bytes() == (again / weights).read_bytes()


def test_a_dial_set_wrong_ends_the_command_with_its_sentence(tmp_path):
    done = CliRunner().invoke(app, ["toy", "--out", str(tmp_path), "--letters", "1"])
    assert done.exit_code == 2 and "letters" in done.output and "Traceback" not in done.output
