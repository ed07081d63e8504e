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

Three stages on one thread: the tower alone, the language model on short dialogues, the language model on whole ones of
imperfect demonstrations. The tower is frozen after the first, and its features of every picture are computed once.

Where demonstrations do not always call, the last stage has two parts: first all call, then they call at their rates, so
that how well a zoom is aimed does not hang on how often there is one.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

import torch
from transformers import PreTrainedModel

from verl_mapo.toy.album import Album, Features
from verl_mapo.toy.dialogue import END, IMAGE, Demonstrations, Family, Script, Tokens, act, answer, call, thought
from verl_mapo.toy.language import Pace, collate, fit, hidden_states, written
from verl_mapo.toy.tiny_vlm import build_model, build_processor, forbidden_tokens, save, seal
from verl_mapo.toy.tower import train_tower
from verl_mapo.toy.visual_search import OBJECTS, VisualSearch


@dataclass(frozen=True)
class Recipe:
    """How long each stage is; ``tower`` and ``short`` may be left out.

    Attributes:
        scenes: how many scenes the stages draw from.
        habit: the dialogues that bring the rates of calling, after those that all call.
    """

    scenes: int
    tower: Pace | None
    short: Pace | None
    dialogues: Pace
    habit: Pace
    demonstrations: Demonstrations = field(default_factory=Demonstrations)


RECIPES = {
    "smoke": Recipe(64, None, None, Pace(140, 8, 2e-3), Pace(40, 8, 5e-4)),
    "full": Recipe(2500, Pace(500, 4, 2e-3), Pace(1000, 16, 3e-4, "constant"), Pace(240, 24, 5e-4), Pace(60, 24, 2e-4)),
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
        """The language model on boxes and letters, in dialogues without what every prompt begins with."""
        self._read(start)
        draw = partial(self._short, random.Random(f"short/{self.seed}"))
        with one_thread():
            fit(self.model, draw, self.features, self.recipe.short, "boxes and letters")
        self._write(out)

    def dialogues(self, start: Path | None, out: Path) -> None:
        """The language model on whole dialogues; writes the finished model folder."""
        if start is not None:
            self._read(start)
        rng, shown = random.Random(f"dialogues/{self.seed}"), self.recipe.demonstrations
        calling, as_shown = (partial(self._dialogue, rng, how) for how in (shown.calling(), shown))
        with one_thread():
            fit(self.model, calling, self.features, self.recipe.dialogues, "dialogues")
            if shown != shown.calling():
                fit(self.model, as_shown, self.features, self.recipe.habit, "rates of calling")
            self._seal([as_shown() for _ in range(64)])
        save(self.model, self.script.processor, out)

    def _short(self, rng: random.Random) -> Tokens:
        """A question up to the box, and any crop with its letter: question and call stand as far from the image as in a
        whole dialogue, or what is learnt here would not be found again there.
        """
        scene, other = rng.randrange(self.recipe.scenes), rng.randrange(self.recipe.scenes)
        things, script = self.album.things[scene], self.script
        seen = ((scene, None), script.frame.scene_size)
        question = self.task.ask(things, rng)
        asked = f"<|im_start|>user\n{IMAGE}{question.text}{END}\n<|im_start|>assistant\n{thought(question.subject)}"
        if not question.needs_zoom:
            return script.write([(asked, False), (answer(question.answer), True)], [seen])
        slot = rng.randrange(OBJECTS)
        box = script.frame.box(question.target.cell)
        before, box, after = call(question.target.name, box).partition(json.dumps(box))
        letter = answer(self.album.things[other][slot].letter)
        parts = [(asked + before, False), (box, True), (after + IMAGE, False), (letter, True)]
        return script.write(parts, [seen, ((other, slot), script.frame.crop_size)])

    def _dialogue(self, rng: random.Random, how: Demonstrations) -> Tokens:
        scene = rng.randrange(self.recipe.scenes)
        things, empty, frame = self.album.things[scene], self.album.empty[scene], self.script.frame
        question = self.task.ask(things, rng)
        shown = act(things, empty, question, self.task.alphabet, how, rng)
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
