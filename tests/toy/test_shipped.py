# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The default toy gets the models that ship with the package, and no other toy does.

Where the first test fails, the settings of the default toy have changed: ``python scripts/ship_toy.py`` trains its
models anew.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoModelForImageTextToText, AutoProcessor

from verl_mapo.rollout import prompts
from verl_mapo.toy import prepare as room
from verl_mapo.toy import shipped
from verl_mapo.toy.dialogue import DemonstrationRates, DialogueWriter
from verl_mapo.toy.prepare import prepare
from verl_mapo.toy.rollouts import roll_out
from verl_mapo.toy.tiny_tokenizer import corpus
from verl_mapo.toy.visual_search import VisualSearch
from verl_mapo.toy.warm_start import WarmStart

SCRIPT = Path(__file__).parents[2] / "scripts" / "ship_toy.py"
NAMES = ("qwen2_5_vl-full", "full-clip")
COMMAND = "run `python scripts/ship_toy.py`"


class Trains(Exception):
    """A model would be trained."""


@pytest.fixture
def no_training(monkeypatch):
    """Full toys have four scenes, and training a model raises an error instead."""

    def refuse(*_):
        raise Trains

    monkeypatch.setitem(room._ROWS, "full", {"train": 2, "test": 2})
    monkeypatch.setattr(room, "train_clip", refuse)
    for stage in ("tower", "short", "dialogues"):
        monkeypatch.setattr(WarmStart, stage, refuse)


def test_default_toy_copies_both_shipped_models(no_training, tmp_path):
    try:
        toy = prepare(tmp_path, "qwen2_5_vl", "full")
    except Trains:
        pytest.fail(f"The shipped models are not those of the default settings any more: {COMMAND}")
    for name, folder in zip(NAMES, (toy.model, toy.clip), strict=True):
        assert folder.parent == tmp_path and folder.name.startswith(f"{name}-shipped-")
        for file in (shipped.MODELS / name).iterdir():
            assert file.name == shipped.MADE_BY or (folder / file.name).read_bytes() == file.read_bytes()
    assert prepare(tmp_path, "qwen2_5_vl", "full") == toy


@pytest.mark.parametrize(
    "other",
    [
        {"family": "qwen3_vl"},
        {"size": "smoke"},
        {"task": VisualSearch(letters=6)},
        {"seed": 1},
        {"demonstrations": DemonstrationRates(p_right=0.5)},
        {"retrain": True},
    ],
    ids=lambda other: next(iter(other)),
)
def test_other_settings_train_a_model(other, no_training, tmp_path, monkeypatch):
    monkeypatch.setattr(room, "train_clip", lambda task, recipe, seed, out: None)
    with pytest.raises(Trains):
        prepare(tmp_path, **{"family": "qwen2_5_vl", "size": "full", **other})


@pytest.mark.parametrize("change", ["the system message", "the observation", "the recipe"])
def test_other_texts_or_stages_train_a_model(change, no_training, tmp_path, monkeypatch):
    if change == "the system message":
        corpus.cache_clear()
        monkeypatch.setattr(prompts, "DEFAULT_SYSTEM", "You are another assistant.")
    elif change == "the observation":
        image_text = prompts.image_text
        monkeypatch.setattr(prompts, "image_text", lambda *args: image_text(*args) + " Look.")
        corpus.cache_clear()
    else:
        recipe = room.RECIPES["full"]
        monkeypatch.setitem(room.RECIPES, "full", room.replace(recipe, scenes=recipe.scenes + 1))
    try:
        with pytest.raises(Trains):
            prepare(tmp_path, "qwen2_5_vl", "full")
    finally:
        corpus.cache_clear()


def test_damaged_model_is_refused_in_words(tmp_path):
    models = tmp_path / "models"
    shutil.copytree(shipped.MODELS, models)
    made_by = (models / NAMES[0] / shipped.MADE_BY).read_text()
    assert shipped.checksums(NAMES[0], made_by, models)
    (models / NAMES[0] / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1")
    with pytest.raises(ValueError, match="is damaged.*verl-mapo toy --retrain"):
        shipped.checksums(NAMES[0], made_by, models)
    assert shipped.checksums(NAMES[1], (models / NAMES[1] / shipped.MADE_BY).read_text(), models)


def test_checksums_are_those_that_sha256sum_checks():
    subprocess.run(["sha256sum", "--check", "--strict", shipped.SUMS], cwd=shipped.MODELS, check=True)
    listed = {line.split("  ")[1] for line in (shipped.MODELS / shipped.SUMS).read_text().splitlines()}
    assert listed == {f"{name}/{file.name}" for name in NAMES for file in (shipped.MODELS / name).iterdir()}


def test_shipped_models_are_small():
    assert sum(file.stat().st_size for file in shipped.MODELS.rglob("*") if file.is_file()) < 6_000_000


def test_shipped_model_calls_the_tool_and_has_room_to_improve():
    rollouts = rollouts_of(shipped.MODELS / NAMES[0], 48)
    assert sum(rollout.called for rollout in rollouts) / 48 > 0.8
    assert 0.3 < sum(rollout.right for rollout in rollouts) / 48 < 0.75


@pytest.mark.e2e
@pytest.mark.matrix
def test_command_gives_the_shipped_models_again(tmp_path):
    """The same bytes on a machine with the same versions and instructions, otherwise a model that is equally good."""
    subprocess.run([sys.executable, str(SCRIPT), "--out", str(tmp_path)], check=True)
    again = {file.relative_to(tmp_path): file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    before = {file.relative_to(shipped.MODELS): file for file in shipped.MODELS.rglob("*") if file.is_file()}
    assert again.keys() == before.keys()
    different = {str(path) for path, file in before.items() if again[path] != file.read_bytes()}
    if json.loads((shipped.MODELS / shipped.TRAINED_WITH).read_text()) == shipped.trained_with():
        assert not different
        return
    weights = {f"{name}/model.safetensors" for name in NAMES}
    assert different <= weights | {shipped.SUMS, shipped.TRAINED_WITH}
    rates = [
        sum(rollout.right for rollout in rollouts_of(models / NAMES[0], 512)) / 512
        for models in (shipped.MODELS, tmp_path)
    ]
    assert rates[0] == pytest.approx(rates[1], abs=0.1)


def rollouts_of(folder: Path, scenes: int) -> list:
    model = AutoModelForImageTextToText.from_pretrained(folder).eval()
    writer = DialogueWriter(AutoProcessor.from_pretrained(folder), model.config.model_type)
    return roll_out(model, writer, VisualSearch(), scenes, temperature=1.0)
