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
"""Everything a newcomer needs to train something: data, a warm-started tiny model and a tiny CLIP, in one folder.

Each artifact is kept under the hash of what made it; a stage that was cut is redone, finished ones are used again.
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

from verl_mapo.toy.dataset import write_split
from verl_mapo.toy.dialogue import Demonstrations, Family
from verl_mapo.toy.tiny_clip import CLIPS, train_clip
from verl_mapo.toy.tiny_tokenizer import corpus
from verl_mapo.toy.visual_search import GENERATOR, VisualSearch
from verl_mapo.toy.warm_start import RECIPES, WarmStart

logger = logging.getLogger(__name__)

Scale = Literal["smoke", "full"]

_ROWS: dict[Scale, dict[Literal["train", "test"], int]] = {
    "smoke": {"train": 64, "test": 16},
    "full": {"train": 2048, "test": 256},
}


@dataclass(frozen=True)
class Toy:
    """Where everything lies; the parquet files name images in the same folder by absolute path."""

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
    demonstrations: Demonstrations | None = None,
) -> Toy:
    """Make what is not there yet: under a minute at ``smoke`` size, about eight minutes at ``full`` size on one core.

    Args:
        folder: made if absent; may be shared by everything below that differs, and by processes at once.
        size: ``smoke`` gives a model that has the right form and knows nothing, ``full`` one worth training.
        task: the dials; None leaves all of them at rest.
        seed: of the data and of every weight.
        demonstrations: what the model has seen; None is the size's own. They concern the last stage of the warm start
            alone, about two minutes at ``full`` size: scenes, CLIP and the stages before it are shared.
    """
    task = task or VisualSearch()
    rows, clip, recipe = _ROWS[size], CLIPS[size], RECIPES[size]
    recipe = replace(recipe, demonstrations=demonstrations or recipe.demonstrations)
    shelf = _Shelf(Path(folder).absolute(), {"generator": GENERATOR, "task": asdict(task), "seed": seed})
    data = shelf.make(f"{size}-scenes", rows, 0.03 * sum(rows.values()), partial(_write_scenes, task, seed, rows))
    scorer = shelf.make(
        f"{size}-clip", asdict(clip), 0.06 * clip.pace.steps, lambda out, _: train_clip(task, clip, seed, out)
    )
    model = _warm_start(shelf, f"{family}-{size}", WarmStart(family, task, recipe, seed))
    return Toy(data / "train.parquet", data / "test.parquet", model, scorer)


def _write_scenes(task: VisualSearch, seed: int, rows: dict[str, int], out: Path, lasting: Path) -> None:
    for split, count in rows.items():
        write_split(task, seed, split, count, out, lasting)


def _warm_start(shelf: _Shelf, name: str, start: WarmStart) -> Path:
    """The stages of a warm start, each an artifact of its own; only the last one is a model folder."""
    recipe, last = start.recipe, None
    words = hashlib.sha256("\n".join(corpus()).encode()).hexdigest()
    made_by: dict[str, Any] = {"words": words, "scenes": recipe.scenes, "tower": recipe.tower and asdict(recipe.tower)}
    if recipe.tower:
        last = shelf.make(f"{name}-tower", made_by, 0.22 * recipe.tower.steps, lambda out, _: start.tower(out))
    made_by["short"] = recipe.short and asdict(recipe.short)
    if recipe.short:
        tower = last
        last = shelf.make(f"{name}-short", made_by, 0.2 * recipe.short.steps, lambda out, _: start.short(tower, out))
    seconds = 0.02 * recipe.dialogues.steps * recipe.dialogues.batch
    return shelf.make(name, made_by | asdict(recipe), seconds, lambda out, _: start.dialogues(last, out))


class _Shelf:
    """Artifacts in a folder, each in a folder of its own named after the hash of its settings."""

    def __init__(self, folder: Path, common: dict[str, Any]):
        self.folder, self.common = folder, common
        folder.mkdir(parents=True, exist_ok=True)

    def make(self, name: str, settings: dict[str, Any], seconds: float, build: Callable[[Path, Path], None]) -> Path:
        """The artifact's folder; ``build`` fills it, given where to write and where that will lie in the end.

        Args:
            seconds: what it takes on one free core, roughly.
        """
        made_by = json.dumps({"artifact": name} | self.common | settings, indent=1, sort_keys=True)
        place = self.folder / f"{name}-{hashlib.sha256(made_by.encode()).hexdigest()[:10]}"
        draft = self.folder / f".{place.name}"
        with FileLock(f"{draft}.lock"):
            if place.is_dir():
                logger.info("%s is there already.", place.name)
                return place
            logger.info("Making %s, about %d s on one core.", place.name, seconds)
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir()
            build(draft, place)
            (draft / "made_by.json").write_text(made_by)
            draft.rename(place)
        return place
