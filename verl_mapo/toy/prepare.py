# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Makes the toy: data, a warm-started tiny model and a tiny CLIP, in one folder.

Each artifact is stored under a hash of the settings that made it. A complete artifact is used again; an interrupted one
is made anew. A model that ships with the package (:mod:`verl_mapo.toy.shipped`) is copied instead of trained.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock

from verl_mapo.toy import shipped
from verl_mapo.toy.dataset import write_split
from verl_mapo.toy.dialogue import DemonstrationRates, Family
from verl_mapo.toy.tiny_clip import CLIPS, ClipRecipe, train_clip
from verl_mapo.toy.tiny_tokenizer import corpus
from verl_mapo.toy.tiny_vlm import STORED
from verl_mapo.toy.visual_search import GENERATOR, VisualSearch
from verl_mapo.toy.warm_start import RECIPES, Recipe, WarmStart

logger = logging.getLogger(__name__)

Scale = Literal["smoke", "full"]

_ROWS: dict[Scale, dict[Literal["train", "test"], int]] = {
    "smoke": {"train": 64, "test": 16},
    "full": {"train": 2048, "test": 256},
}


@dataclass(frozen=True)
class Toy:
    """Paths of a toy.

    Attributes:
        train: parquet file of the training rows, which hold absolute paths of images in the same folder.
        test: parquet file of the held-out rows.
        model: folder of the warm-started model.
        clip: folder of the tiny CLIP.
    """

    train: Path
    test: Path
    model: Path
    clip: Path


def prepare(
    folder: Path,
    family: Family,
    size: Scale,
    task: VisualSearch | None = None,
    seed: int = 0,
    demonstrations: DemonstrationRates | None = None,
    retrain: bool = False,
) -> Toy:
    """Make what does not exist yet.

    It takes seconds if both models ship with the package, which holds for Qwen2.5-VL at ``full`` size with the default
    settings. Otherwise it takes under a minute (``smoke``) or about eight minutes (``full``) on one core.

    Args:
        folder: folder of the artifacts, made if absent. Toys with other settings, and other processes at the same time,
            may use the same folder.
        family: the model family.
        size: ``smoke`` gives a model that writes the right format but cannot see, ``full`` one that is worth training.
        task: settings of the scenes; None for the defaults.
        seed: seed of the data and of all weights.
        demonstrations: how often demonstrations call and zoom at the target; None for the rates of the size. They
            change only the last stage of the warm start, about two minutes at ``full`` size; everything before it is
            used again.
        retrain: train the models even if they ship with the package.
    """
    task = task or VisualSearch()
    rows, clip, recipe = _ROWS[size], CLIPS[size], RECIPES[size]
    recipe = replace(recipe, demonstrations=demonstrations or recipe.demonstrations)
    cache = _ArtifactCache(
        Path(folder).absolute(), {"generator": GENERATOR, "task": asdict(task), "seed": seed}, retrain
    )
    data = cache.get(f"{size}-scenes", rows, 0.007 * sum(rows.values()), partial(_write_scenes, task, seed, rows))
    scorer = cache.get_model(
        f"{size}-clip", _clip_key(clip), 0.06 * clip.stage.steps, lambda out, _: train_clip(task, clip, seed, out)
    )
    model = _warm_start(cache, f"{family}-{size}", WarmStart(family, task, recipe, seed))
    return Toy(data / "train.parquet", data / "test.parquet", model, scorer)


def _write_scenes(task: VisualSearch, seed: int, rows: dict[str, int], out: Path, final: Path) -> None:
    for split, count in rows.items():
        write_split(task, seed, split, count, out, final)


def _warm_start(cache: _ArtifactCache, name: str, start: WarmStart) -> Path:
    """Make the stages of a warm start, each an artifact; only the last one is a model folder.

    A stage makes the one before it when it needs it.
    """
    recipe = start.recipe
    key: dict[str, Any] = {"texts": _texts_key(start), "scenes": recipe.scenes}
    tower_key = key | {"tower": recipe.tower and asdict(recipe.tower)}
    short_key = tower_key | {"short": recipe.short and asdict(recipe.short)}

    def tower() -> Path | None:
        if recipe.tower is None:
            return None
        return cache.get(f"{name}-tower", tower_key, 0.22 * recipe.tower.steps, lambda out, _: start.tower(out))

    def short() -> Path | None:
        if recipe.short is None:
            return tower()
        seconds = 0.2 * recipe.short.steps
        return cache.get(f"{name}-short", short_key, seconds, lambda out, _: start.short(tower(), out))

    seconds = 0.02 * recipe.dialogues.steps * recipe.dialogues.batch
    last_key = short_key | _dialogues_key(recipe)
    return cache.get_model(name, last_key, seconds, lambda out, _: start.dialogues(short(), out))


# The keys below are hashed into the names of artifacts: another spelling would make every toy anew.


def _texts_key(start: WarmStart) -> str:
    """A hash of every text that the model can meet, and of the tokens of one dialogue."""
    read = ["\n".join(corpus()), start.example().ids]
    return hashlib.sha256(json.dumps(read).encode()).hexdigest()


def _clip_key(clip: ClipRecipe) -> dict[str, Any]:
    return {"scenes": clip.scenes, "pace": asdict(clip.stage), "stored": STORED}


def _dialogues_key(recipe: Recipe) -> dict[str, Any]:
    stages = {"dialogues": asdict(recipe.dialogues), "habit": asdict(recipe.call_rates)}
    return stages | {"demonstrations": asdict(recipe.demonstrations), "stored": STORED}


class _ArtifactCache:
    """Artifacts below one folder, each in its own folder named after a hash of its settings.

    Args:
        folder: made if absent.
        common: settings that are part of every artifact's hash.
        retrain: whether to train the models that ship with the package, too.
    """

    def __init__(self, folder: Path, common: dict[str, Any], retrain: bool):
        self.folder, self.common, self.retrain = folder, common, retrain
        folder.mkdir(parents=True, exist_ok=True)

    def get_model(
        self, name: str, settings: dict[str, Any], seconds: float, build: Callable[[Path, Path], None]
    ) -> Path:
        """As :meth:`get`; but if a shipped model was made by the same settings, it is copied instead of built."""
        if not self.retrain and (sums := shipped.checksums(name, self._made_by(name, settings))):
            return self.get(f"{name}-shipped", {"files": sums}, 1, lambda out, _: shipped.copy(name, out))
        return self.get(name, settings, seconds, build)

    def get(self, name: str, settings: dict[str, Any], seconds: float, build: Callable[[Path, Path], None]) -> Path:
        """The folder of an artifact, which is built if it does not exist.

        Args:
            name: beginning of the folder's name.
            settings: everything but ``common`` that the artifact depends on, as JSON.
            seconds: approximate time to build it on one free core.
            build: writes the artifact, given the folder to write to and the folder's final path.
        """
        made_by = self._made_by(name, settings)
        path = self.folder / f"{name}-{hashlib.sha256(made_by.encode()).hexdigest()[:10]}"
        draft = self.folder / f".{path.name}"
        with FileLock(f"{draft}.lock"):
            if path.is_dir():
                logger.info("%s exists already.", path.name)
                return path
            logger.info("Making %s, about %d s on one core.", path.name, seconds)
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir()
            build(draft, path)
            (draft / shipped.MADE_BY).write_text(made_by)
            draft.rename(path)
        return path

    def _made_by(self, name: str, settings: dict[str, Any]) -> str:
        return json.dumps({"artifact": name} | self.common | settings, indent=1, sort_keys=True)
