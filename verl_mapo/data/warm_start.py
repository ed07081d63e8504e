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
"""A supervised warm start of a tiny VLM: a policy that can call, look and answer, and still has much to gain.

Three stages on one thread: the tower alone, the language model on short texts, the language model on whole dialogues of
imperfect demonstrations. The tower is frozen after the first, and its features of every picture are computed once.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

import torch
from transformers import PreTrainedModel

from verl_mapo.data.album import Album, Features
from verl_mapo.data.dialogue import IMAGE, Demonstrations, Family, Script, Tokens, act, answer
from verl_mapo.data.language import Pace, collate, fit, hidden_states, written
from verl_mapo.data.tiny_vlm import build_model, build_processor, forbidden_tokens, save, seal
from verl_mapo.data.tower import train_tower
from verl_mapo.data.visual_search import OBJECTS, VisualSearch, optional_question


@dataclass(frozen=True)
class Recipe:
    """How long each stage is; ``tower`` and ``short`` may be left out.

    Attributes:
        scenes: how many scenes the stages draw from.
    """

    scenes: int
    tower: Pace | None
    short: Pace | None
    dialogues: Pace
    demonstrations: Demonstrations = field(default_factory=Demonstrations)


RECIPES = {
    "smoke": Recipe(64, None, None, Pace(140, 8, 2e-3)),
    "full": Recipe(2500, Pace(500, 4, 2e-3), Pace(1100, 16, 3e-4, "constant"), Pace(220, 24, 7e-4)),
}
"""``smoke`` has the right form and knows nothing; ``full`` is worth training."""


class WarmStart:
    """The stages of one warm start; each reads the weights that the one before has written.

    Args:
        family: which tiny model.
        task: what it is to learn.
        recipe: how long.
        seed: of the weights, the scenes and the order of everything.
    """

    def __init__(self, family: Family, task: VisualSearch, recipe: Recipe, seed: int):
        self.family, self.task, self.recipe, self.seed = family, task, recipe, seed

    @cached_property
    def script(self) -> Script:
        return Script(build_processor(self.family), self.family)

    @cached_property
    def model(self) -> PreTrainedModel:
        return build_model(self.family, self.script.processor.tokenizer, self.seed)

    @cached_property
    def album(self) -> Album:
        return Album.draw(self.task, self.script, self.seed, self.recipe.scenes)

    @cached_property
    def features(self) -> Features:
        """Of the tower as it is when first asked for; it is frozen from then on."""
        return Features.of(self.album, self.model.eval(), self.script)

    def tower(self, out: Path) -> None:
        """The vision tower alone."""
        with one_thread():
            train_tower(self.model, self.script, self.album, self.recipe.tower, self.seed)
        self._write(out)

    def short(self, start: Path, out: Path) -> None:
        """The language model on a label and its box, a crop and its letter, without the prompt around them."""
        self._read(start)
        draw = partial(self._short, random.Random(f"short/{self.seed}"))
        with one_thread():
            fit(self.model, draw, self.features, self.recipe.short, "boxes and letters")
        self._write(out)

    def dialogues(self, start: Path | None, out: Path) -> None:
        """The language model on whole dialogues; writes the finished model folder."""
        if start is not None:
            self._read(start)
        draw = partial(self._dialogue, random.Random(f"dialogues/{self.seed}"))
        with one_thread():
            fit(self.model, draw, self.features, self.recipe.dialogues, "dialogues")
            self._seal([draw() for _ in range(64)])
        save(self.model, self.script.processor, out)

    def _short(self, rng: random.Random) -> Tokens:
        scene, other = rng.randrange(self.recipe.scenes), rng.randrange(self.recipe.scenes)
        things, script = self.album.things[scene], self.script
        seen = ((scene, None), script.frame.scene_size)
        if rng.random() < self.task.no_zoom_share:
            question = optional_question(things, rng)
            asked = f"<|im_start|>user\n{IMAGE}{question.text}"
            return script.write([(asked, False), (answer(question.answer), True)], [seen])
        thing, slot = rng.choice(things), rng.randrange(OBJECTS)
        start = f'<|im_start|>user\n{IMAGE}"label": "{thing.name}", "bbox_2d": ['
        box = ", ".join(map(str, script.frame.box(thing.cell))) + "]"
        letter = answer(self.album.things[other][slot].letter)
        crop = ((other, slot), script.frame.crop_size)
        return script.write([(start, False), (box, True), (IMAGE, False), (letter, True)], [seen, crop])

    def _dialogue(self, rng: random.Random) -> Tokens:
        scene = rng.randrange(self.recipe.scenes)
        things, empty, frame = self.album.things[scene], self.album.empty[scene], self.script.frame
        question = self.task.ask(things, rng)
        shown = act(things, empty, question, self.task.alphabet, self.recipe.demonstrations, rng)
        crop = None
        if shown.cell is not None:
            crop = ((scene, self.album.slot(scene, shown.cell)), frame.crop_size)
        return self.script.dialogue(shown, ((scene, None), frame.scene_size), crop)

    @torch.no_grad()
    def _seal(self, rows: list[Tokens]) -> None:
        batch = collate(self.model, rows, self.features)
        states, _ = written(hidden_states(self.model.eval(), batch), batch)
        tokenizer = self.script.processor.tokenizer
        seal(self.model, forbidden_tokens(tokenizer, self.model.config.text_config.vocab_size), states)

    def _write(self, out: Path) -> None:
        torch.save(self.model.state_dict(), out / "weights.pt")

    def _read(self, start: Path) -> None:
        self.model.load_state_dict(torch.load(start / "weights.pt", weights_only=True))


@contextmanager
def one_thread() -> Iterator[None]:
    """Inside, torch computes on one thread: at this size more threads only spin, and results stay the same anywhere."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
