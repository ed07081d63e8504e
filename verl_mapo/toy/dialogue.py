# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Demonstrations of the task, with the same tokens that the visual tool loop would produce.

The loop renders the prompt with the processor, keeps the tokens that the model sampled, and appends each observation as
a user message. A :class:`DialogueWriter` writes the same token stream from a text that is known beforehand.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Annotated, Any, Literal

from PIL import Image
from pydantic import Field
from pydantic.dataclasses import dataclass as settings_dataclass

from verl_mapo.rollout import prompts
from verl_mapo.rollout.images import ProcessorResize, pixel_limits
from verl_mapo.rollout.settings import VisualToolSettings
from verl_mapo.settings import STRICT
from verl_mapo.tools.coordinates import CoordinateSpace, Size
from verl_mapo.tools.image_history import ImageHistory, ToolImage, full_view
from verl_mapo.toy.visual_search import GRID, Question, SceneObject

Family = Literal["qwen2_5_vl", "qwen3_vl", "qwen3_5"]
Share = Annotated[float, Field(ge=0, le=1)]
IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"
"""An image in a text; the writer expands its placeholder to the image's number of tokens."""
END = "<|im_end|>"
"""The token that ends a turn."""


@dataclass(frozen=True)
class Frame:
    """Image sizes and box units of a model family; one cell of the scene is one image token.

    Attributes:
        patch: side of a patch of the vision tower in pixels; an image token covers two by two patches.
        unit: side of a cell in the units of the family's boxes.
        margin: distance from each side of a cell to the demonstrated box, in the same units. It makes the crop three by
            three image tokens.
    """

    patch: int
    unit: int
    margin: int

    @property
    def token_side(self) -> int:
        """Side of an image token in pixels."""
        return 2 * self.patch

    @property
    def scene_size(self) -> Size:
        """(width, height) of a scene as the model sees it, in pixels."""
        return GRID * self.token_side, GRID * self.token_side

    @property
    def crop_size(self) -> Size:
        """(width, height) of a demonstrated crop as the model sees it, in pixels: three by three image tokens."""
        return 3 * self.token_side, 3 * self.token_side

    def box(self, cell: int) -> list[int]:
        """The box [x1, y1, x2, y2] that a demonstration gives for a cell, in the family's units."""
        x, y = cell % GRID * self.unit, cell // GRID * self.unit
        return [x + self.margin, y + self.margin, x + self.unit - self.margin, y + self.unit - self.margin]


FRAMES: dict[Family, Frame] = {
    "qwen2_5_vl": Frame(14, 28, 4),
    "qwen3_vl": Frame(16, 250, 20),
    "qwen3_5": Frame(16, 250, 20),
}


def thought(subject: str) -> str:
    """The text of a thought about the subject of a question."""
    return f"<think>Find the {subject}.</think>\n"


def call(label: str, box: list[int]) -> str:
    """The text of a call of the zoom tool, with the end of the turn."""
    arguments = json.dumps({"name": "zoom", "arguments": {"label": label, "bbox_2d": box}})
    return f"<tool_call>\n{arguments}\n</tool_call>{END}"


def answer(text: str) -> str:
    """The text of a final answer, with the end of the turn."""
    return f"<answer>{text}</answer>{END}"


def messages(question: str, tools: VisualToolSettings, space: CoordinateSpace, token_side: int) -> list[dict[str, Any]]:
    """The prompt of a question with the tools declared, as the loop gives it to the model.

    Args:
        question: the question's text; one image precedes it.
        tools: settings of the visual tools, which are declared in the system message.
        space: units of the model's boxes.
        token_side: side of an image token in pixels.
    """
    user = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}
    declared = tools.build_tools(space, token_side).values()
    return prompts.declare([{"role": "system", "content": prompts.DEFAULT_SYSTEM}, user], declared, tools.describe)


@settings_dataclass(frozen=True, config=STRICT)
class DemonstrationRates:
    """How often demonstrations call the tool, and how often they zoom at the target.

    A model that copies the demonstrations calls as often as they do. AXPO's paper (arXiv 2605.28774) reports that about
    0.3 of the rollouts call, and that in about 0.4 of the groups with tool users all of these are wrong. ``p_call`` and
    ``p_call_optional`` set the first number. The second follows from the first and from the accuracy of tool users
    (:func:`verl_mapo.report.recovery.all_wrong_rate`): it is about 0.33 for eight rollouts that call at a rate of 0.3
    and are correct half of the time. That accuracy is below ``p_right``, because the tiny model also misses cells and
    misreads crops: with the default of 0.7 and a call for every question, half of its rollouts are correct.

    Attributes:
        p_right: share of zooms at the cell of the target. The others show another object or an empty cell, and the
            answer is what is seen there.
        p_call: share of the questions that need a zoom for which the demonstration zooms. In the others it guesses.
        p_call_optional: the same for questions that need no zoom. Their answer is correct with and without a call.
    """

    p_right: Share = 0.7
    p_call: Share = 1.0
    p_call_optional: Share = 0.5

    def always_calling(self) -> DemonstrationRates:
        """The same accuracy, with a call for every question that needs one."""
        return DemonstrationRates(self.p_right)


@dataclass
class Demonstration:
    """One demonstrated response to a scene.

    Attributes:
        question: the question about the scene.
        answer: the demonstrated answer, which may be wrong.
        label: label of the tool call; empty without a call.
        cell: cell that the zoom shows; None for an answer without a call.
    """

    question: Question
    answer: str
    label: str = ""
    cell: int | None = None


def draw_demonstration(
    objects: Sequence[SceneObject],
    empty_cells: Sequence[int],
    question: Question,
    alphabet: str,
    rates: DemonstrationRates,
    rng: random.Random,
) -> Demonstration:
    """Draw a demonstration for a question about a scene.

    Args:
        objects: the objects of the scene.
        empty_cells: the empty cells that a zoom at a wrong place may show.
        question: the question about the scene.
        alphabet: the letters that a guess is drawn from.
        rates: how often it calls, and how often it zooms at the target.
        rng: source of randomness.
    """
    calls = rng.random() < (rates.p_call if question.needs_zoom else rates.p_call_optional)
    if not calls:
        return Demonstration(question, rng.choice(alphabet) if question.needs_zoom else question.answer)
    target = question.target or rng.choice(objects)
    cells: dict[int, SceneObject | None] = dict.fromkeys(empty_cells) | {each.cell: each for each in objects}
    cell = target.cell if rng.random() < rates.p_right else rng.choice(list(cells))
    found = cells[cell]
    letter = found.letter if found else rng.choice(alphabet)
    return Demonstration(question, letter if question.needs_zoom else question.answer, target.name, cell)


@dataclass
class Tokens:
    """A token stream.

    Attributes:
        ids: token ids; an image has one placeholder for each of its tokens.
        trained: whether the model writes the token, so that it is trained on.
        images: keys of the images in the stream, in order.
    """

    ids: list[int] = field(default_factory=list)
    trained: list[bool] = field(default_factory=list)
    images: list[Any] = field(default_factory=list)


class DialogueWriter:
    """Writes demonstrations as token streams of a model's processor.

    Args:
        processor: the model's processor; its image processor decides the size at which the model sees an image.
        family: the model family, which decides the frame and the units of boxes.
    """

    def __init__(self, processor: Any, family: Family):
        self.processor = processor
        self.frame = FRAMES[family]
        self.space = CoordinateSpace.of_model(family)
        self.settings = VisualToolSettings()
        self.zoom = self.settings.build_tools(self.space, self.frame.token_side)["zoom"]
        self.image_token = processor.image_token_id
        self.resize = ProcessorResize(self.frame.token_side, pixel_limits(processor.image_processor, {}, None))
        self._encode = lru_cache(maxsize=4096)(self._encode_text)

    def image_history(self, image: Image.Image) -> ImageHistory:
        """The image history at the start of a rollout about a scene."""
        return ImageHistory.of([full_view(image, 0, self.resize)], self.resize)

    def zoom_at(self, history: ImageHistory, cell: int) -> ToolImage:
        """The image that the demonstrated zoom at a cell returns."""
        return self.zoom.run(self.zoom.parse({"label": "", "bbox_2d": self.frame.box(cell)}), history)

    @lru_cache(maxsize=4096)  # noqa: B019 - a writer lives as long as the process that trains with it
    def prompt(self, question: str) -> str:
        """The prompt's text up to and including the assistant's header; image placeholders are not expanded."""
        prompt = messages(question, self.settings, self.space, self.frame.token_side)
        return self.processor.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)

    @lru_cache(maxsize=64)  # noqa: B019
    def observation(self, size: Size) -> str:
        """The text after a turn with a call: the observation of an image of this size, and the next turn's header."""
        message = prompts.observation((prompts.image_text(1, size), "crop"))
        return "\n" + self.processor.apply_chat_template([message], tokenize=False, add_generation_prompt=True)

    def write(self, parts: list[tuple[str, bool]], images: list[tuple[Any, Size]]) -> Tokens:
        """Tokenize the parts of a dialogue.

        Args:
            parts: texts, each with whether the model writes it.
            images: key and (width, height) as seen of each image, in the order of the placeholders in the texts.
        """
        out, remaining = Tokens(), iter(images)
        for text, trained in parts:
            ids: list[int] = []
            for token in self._encode(text):
                if token == self.image_token:
                    key, (width, height) = next(remaining)
                    ids += [token] * (width // self.frame.token_side * (height // self.frame.token_side))
                    out.images.append(key)
                else:
                    ids.append(token)
            out.ids += ids
            out.trained += [trained] * len(ids)
        return out

    def dialogue(self, demonstration: Demonstration, scene: tuple[Any, Size], crop: tuple[Any, Size] | None) -> Tokens:
        """Tokenize the whole dialogue of a demonstration.

        Args:
            demonstration: the demonstrated response.
            scene: key of the scene's image and its (width, height) as seen.
            crop: the same for the crop; None for an answer without a call.
        """
        question = demonstration.question
        parts = [(self.prompt(question.text), False)]
        if crop is None:
            parts.append((thought(question.subject) + answer(demonstration.answer), True))
            return self.write(parts, [scene])
        box = self.frame.box(demonstration.cell)
        parts.append((thought(question.subject) + call(demonstration.label, box), True))
        parts += [(self.observation(crop[1]), False), (answer(demonstration.answer), True)]
        return self.write(parts, [scene, crop])

    def _encode_text(self, text: str) -> list[int]:
        return self.processor.tokenizer.encode(text, add_special_tokens=False)
