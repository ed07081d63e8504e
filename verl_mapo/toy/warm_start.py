# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""A supervised warm start of a tiny vision-language model: a policy that calls the tool and answers, but not yet well.

The three stages run on one thread: the vision tower alone; the language model on short dialogues; the language model on
whole dialogues with imperfect demonstrations. The tower is frozen after the first stage, and its output for every image
is computed once.

If demonstrations do not always call the tool, the last stage has two parts: first every demonstration calls, then they
call at the given rates. The accuracy of a zoom thus hardly depends on how often the model calls.
"""

from __future__ import annotations

import json
import random
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

import torch
from transformers import PreTrainedModel

from verl_mapo.torch_threads import torch_threads
from verl_mapo.toy.dialogue import (
    END,
    IMAGE,
    Demonstration,
    DemonstrationRates,
    DialogueWriter,
    Family,
    Tokens,
    answer,
    call,
    draw_demonstration,
    thought,
)
from verl_mapo.toy.language import Stage, collate, fit, hidden_states, states_and_targets
from verl_mapo.toy.scene_images import SceneFeatures, SceneImages
from verl_mapo.toy.tiny_vlm import build_model, build_processor, forbidden_tokens, save, suppress
from verl_mapo.toy.tower import train_tower
from verl_mapo.toy.visual_search import OBJECTS, VisualSearch


@dataclass(frozen=True)
class Recipe:
    """Settings of the stages.

    Attributes:
        scenes: number of scenes that the stages draw from.
        tower: the stage of the vision tower; None leaves it out.
        short: the stage of short dialogues; None leaves it out.
        dialogues: the stage of whole dialogues in which every demonstration calls the tool.
        call_rates: the stage after it, in which demonstrations call at their rates.
        demonstrations: how often demonstrations call and zoom at the target.
    """

    scenes: int
    tower: Stage | None
    short: Stage | None
    dialogues: Stage
    call_rates: Stage
    demonstrations: DemonstrationRates = field(default_factory=DemonstrationRates)


RECIPES = {
    "smoke": Recipe(64, None, None, Stage(140, 8, 2e-3), Stage(40, 8, 5e-4)),
    "full": Recipe(
        2500, Stage(500, 4, 2e-3), Stage(1000, 16, 3e-4, "constant"), Stage(240, 24, 5e-4), Stage(60, 24, 2e-4)
    ),
}
"""By size of the toy. A ``smoke`` model writes the right format but cannot see; a ``full`` model is worth training."""


class WarmStart:
    """The stages of one warm start. Each stage reads the weights that the previous one has written.

    Args:
        family: the model family.
        task: settings of the scenes.
        recipe: settings of the stages.
        seed: seed of the weights, the scenes and every order.
    """

    def __init__(self, family: Family, task: VisualSearch, recipe: Recipe, seed: int):
        self.family, self.task, self.recipe, self.seed = family, task, recipe, seed

    @cached_property
    def writer(self) -> DialogueWriter:
        """The writer of the demonstrations, with the model's processor."""
        return DialogueWriter(build_processor(self.family), self.family)

    @cached_property
    def model(self) -> PreTrainedModel:
        """The model; its weights are random until a stage trains or reads them."""
        return build_model(self.family, self.writer.processor.tokenizer, self.seed)

    @cached_property
    def images(self) -> SceneImages:
        """The scenes and their crops."""
        return SceneImages.draw(self.task, self.writer, self.seed, self.recipe.scenes)

    @cached_property
    def features(self) -> SceneFeatures:
        """The vision tower's output for the images, computed at the first access; the tower is frozen from then on."""
        return SceneFeatures.compute(self.images, self.model.eval(), self.writer)

    def tower(self, out: Path) -> None:
        """Train the vision tower alone."""
        with one_thread():
            train_tower(self.model, self.writer, self.images, self.recipe.tower, self.seed)
        self._write(out)

    def short(self, start: Path, out: Path) -> None:
        """Train the language model to give boxes and letters, in dialogues without system message and tools."""
        self._read(start)
        draw = partial(self._short, random.Random(f"short/{self.seed}"))
        with one_thread():
            fit(self.model, draw, self.features, self.recipe.short, "boxes and letters")
        self._write(out)

    def dialogues(self, start: Path | None, out: Path) -> None:
        """Train the language model on whole dialogues, and write the complete model folder."""
        if start is not None:
            self._read(start)
        rng, rates = random.Random(f"dialogues/{self.seed}"), self.recipe.demonstrations
        always_calling = partial(self._dialogue, rng, rates.always_calling())
        at_rates = partial(self._dialogue, rng, rates)
        with one_thread():
            fit(self.model, always_calling, self.features, self.recipe.dialogues, "dialogues")
            if rates != rates.always_calling():
                fit(self.model, at_rates, self.features, self.recipe.call_rates, "rates of calling")
            self._suppress_forbidden([at_rates() for _ in range(64)])
        save(self.model, self.writer.processor, out)

    def example(self) -> Tokens:
        """One whole dialogue with a call, as the last stages train on."""
        scene = self.task.scene(self.seed, "warm_start", 0)
        target = scene.question.target or scene.objects[0]
        shown = Demonstration(scene.question, scene.question.answer, target.name, target.cell)
        frame = self.writer.frame
        return self.writer.dialogue(shown, ("scene", frame.scene_size), ("crop", frame.crop_size))

    def _short(self, rng: random.Random) -> Tokens:
        """A question up to the box, then the crop of any object with its letter.

        Question and call are at the same distance from the image as in a whole dialogue, so that what is learnt here
        carries over.
        """
        scene, other = rng.randrange(self.recipe.scenes), rng.randrange(self.recipe.scenes)
        objects, writer = self.images.objects[scene], self.writer
        seen = ((scene, None), writer.frame.scene_size)
        question = self.task.ask(objects, rng)
        asked = f"<|im_start|>user\n{IMAGE}{question.text}{END}\n<|im_start|>assistant\n{thought(question.subject)}"
        if not question.needs_zoom:
            return writer.write([(asked, False), (answer(question.answer), True)], [seen])
        crop = rng.randrange(OBJECTS)
        box = writer.frame.box(question.target.cell)
        before, box, after = call(question.target.name, box).partition(json.dumps(box))
        letter = answer(self.images.objects[other][crop].letter)
        parts = [(asked + before, False), (box, True), (after + IMAGE, False), (letter, True)]
        return writer.write(parts, [seen, ((other, crop), writer.frame.crop_size)])

    def _dialogue(self, rng: random.Random, rates: DemonstrationRates) -> Tokens:
        """A whole dialogue about any scene."""
        scene = rng.randrange(self.recipe.scenes)
        objects, empty_cells, frame = self.images.objects[scene], self.images.empty_cells[scene], self.writer.frame
        question = self.task.ask(objects, rng)
        drawn = draw_demonstration(objects, empty_cells, question, self.task.alphabet, rates, rng)
        crop = None
        if drawn.cell is not None:
            crop = ((scene, self.images.crop_index(scene, drawn.cell)), frame.crop_size)
        return self.writer.dialogue(drawn, ((scene, None), frame.scene_size), crop)

    @torch.no_grad()
    def _suppress_forbidden(self, rows: list[Tokens]) -> None:
        """Suppress the tokens that no policy may sample, with the hidden states of some dialogues as samples."""
        batch = collate(self.model, rows, self.features)
        states, _ = states_and_targets(hidden_states(self.model.eval(), batch), batch)
        suppress(self.model, forbidden_tokens(self.writer.processor.tokenizer), states)

    def _write(self, out: Path) -> None:
        torch.save(self.model.state_dict(), out / "weights.pt")

    def _read(self, start: Path) -> None:
        self.model.load_state_dict(torch.load(start / "weights.pt", weights_only=True))


def one_thread() -> AbstractContextManager[None]:
    """Make torch use one thread while the context is open.

    More threads make models of this size no faster, and with one thread results are the same on every machine.
    """
    return torch_threads(1)
