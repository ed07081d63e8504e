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
"""Demonstrations of the task, token for token as the visual-tool loop produces them.

The loop renders the prompt through the processor, takes the model's tokens as they were sampled, and appends each
observation as a user message of its own; a :class:`Script` writes the same stream from a text known beforehand.
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
from verl_mapo.rollout.images import pixel_limits, resize_of
from verl_mapo.rollout.settings import VisualToolSettings
from verl_mapo.settings import STRICT
from verl_mapo.tools.coordinates import CoordinateSpace, Size
from verl_mapo.tools.image_history import ImageHistory, ToolImage, whole
from verl_mapo.toy.visual_search import GRID, Question, SceneObject

Family = Literal["qwen2_5_vl", "qwen3_vl"]
Share = Annotated[float, Field(ge=0, le=1)]
IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"
END = "<|im_end|>"


@dataclass(frozen=True)
class Frame:
    """How a family sees a scene and speaks of it; one cell of the scene is one image token.

    Attributes:
        patch: pixels along a patch of the vision tower; an image token covers two by two patches.
        unit: length of a cell in the units of the family's boxes.
        margin: what a demonstrated box leaves out on each side of a cell, so that its crop is three by three tokens.
    """

    patch: int
    unit: int
    margin: int

    @property
    def token_side(self) -> int:
        return 2 * self.patch

    @property
    def scene_size(self) -> Size:
        """Size at which a scene is seen."""
        return GRID * self.token_side, GRID * self.token_side

    @property
    def crop_size(self) -> Size:
        """Size at which a demonstrated crop is seen: three by three tokens."""
        return 3 * self.token_side, 3 * self.token_side

    def box(self, cell: int) -> list[int]:
        """The box that a demonstration draws around a cell, in the family's units."""
        x, y = cell % GRID * self.unit, cell // GRID * self.unit
        return [x + self.margin, y + self.margin, x + self.unit - self.margin, y + self.unit - self.margin]


FRAMES: dict[Family, Frame] = {"qwen2_5_vl": Frame(14, 28, 4), "qwen3_vl": Frame(16, 250, 20)}


def thought(subject: str) -> str:
    return f"<think>Find the {subject}.</think>\n"


def call(label: str, box: list[int]) -> str:
    arguments = json.dumps({"name": "zoom", "arguments": {"label": label, "bbox_2d": box}})
    return f"<tool_call>\n{arguments}\n</tool_call>{END}"


def answer(text: str) -> str:
    return f"<answer>{text}</answer>{END}"


def messages(question: str, tools: VisualToolSettings, space: CoordinateSpace, token_side: int) -> list[dict[str, Any]]:
    """The prompt of a question as the loop puts it to the model, tools declared."""
    user = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}
    declared = tools.build_tools(space, token_side).values()
    return prompts.declare([{"role": "system", "content": prompts.DEFAULT_SYSTEM}, user], declared, tools.describe)


@settings_dataclass(frozen=True, config=STRICT)
class Demonstrations:
    """How good the demonstrations are: a policy that copies them knows more than it does.

    AXPO's paper (arXiv 2605.28774) sees about 0.3 of the rollouts call, and the tool users of a question all wrong in
    about 0.4 of the questions that have any. The first is ``p_call`` and ``p_call_optional``, which are the tool rate
    of a copy. The second follows from them and from how often a call comes to a right answer: of eight rollouts, each
    calling with 0.3, about 0.33 of the time (:func:`verl_mapo.report.recovery.all_wrong_rate`). That is not ``p_right``
    but less, since a tiny model also misses cells and misreads crops; with the default 0.7 and a call for every
    question, half of its rollouts are right.

    Attributes:
        p_right: share of zooms that look at the right cell; the others look at another object or an empty cell, and
            the answer is what is seen there.
        p_call: share of questions that need a zoom for which the demonstration zooms; the others guess.
        p_call_optional: the same for questions that need none; they are answered rightly either way.
    """

    p_right: Share = 0.7
    p_call: Share = 1.0
    p_call_optional: Share = 0.5

    def calling(self) -> Demonstrations:
        """The same with a zoom wherever one helps."""
        return Demonstrations(self.p_right)


@dataclass
class Act:
    """One demonstrated reaction to a scene: a direct answer (``cell`` is None) or a zoom into a cell and an answer."""

    question: Question
    answer: str
    label: str = ""
    cell: int | None = None


def act(
    things: Sequence[SceneObject],
    empty: Sequence[int],
    question: Question,
    alphabet: str,
    how: Demonstrations,
    rng: random.Random,
) -> Act:
    """Draw a demonstration for a question about a scene of these objects; it looks at them or at ``empty`` cells."""
    calls = rng.random() < (how.p_call if question.needs_zoom else how.p_call_optional)
    if not calls:
        return Act(question, rng.choice(alphabet) if question.needs_zoom else question.answer)
    target = question.target or rng.choice(things)
    cells: dict[int, SceneObject | None] = dict.fromkeys(empty) | {thing.cell: thing for thing in things}
    cell = target.cell if rng.random() < how.p_right else rng.choice(list(cells))
    found = cells[cell]
    read = found.letter if found else rng.choice(alphabet)
    return Act(question, read if question.needs_zoom else question.answer, target.name, cell)


@dataclass
class Tokens:
    """A token stream; ``trained`` marks what the model writes; ``images`` are keys of the pictures in it, in order."""

    ids: list[int] = field(default_factory=list)
    trained: list[bool] = field(default_factory=list)
    images: list[Any] = field(default_factory=list)


class Script:
    """Writes demonstrations as token streams of one model folder's processor.

    Args:
        processor: of the model; its image processor decides how large images are seen.
        family: decides the frame and the units of boxes.
    """

    def __init__(self, processor: Any, family: Family):
        self.processor = processor
        self.frame = FRAMES[family]
        self.space = CoordinateSpace.of_model(family)
        self.settings = VisualToolSettings()
        self.zoom = self.settings.build_tools(self.space, self.frame.token_side)["zoom"]
        self.image_token = processor.image_token_id
        self.resize = resize_of(self.frame.token_side, pixel_limits(processor.image_processor, {}, None))
        self._encode = lru_cache(maxsize=4096)(self._encode_text)

    def gallery(self, image: Image.Image) -> ImageHistory:
        """A gallery that shows one scene, as the loop opens it."""
        return ImageHistory.of([whole(image, 0, self.resize)], self.resize)

    def look(self, gallery: ImageHistory, cell: int) -> ToolImage:
        """What the demonstrated zoom into a cell shows."""
        return self.zoom.look(self.zoom.parse({"label": "", "bbox_2d": self.frame.box(cell)}), gallery)

    @lru_cache(maxsize=4096)  # noqa: B019 - a script lives as long as the process that trains with it
    def prompt(self, question: str) -> str:
        """The prompt with unexpanded image tokens, up to and including the assistant's header."""
        said = messages(question, self.settings, self.space, self.frame.token_side)
        return self.processor.apply_chat_template(said, tokenize=False, add_generation_prompt=True)

    @lru_cache(maxsize=64)  # noqa: B019
    def observation(self, size: Size) -> str:
        """What follows the end of a calling turn: the observation and the next turn's header."""
        said = prompts.observation(prompts.sight_text(1, size), "crop")
        return "\n" + self.processor.apply_chat_template([said], tokenize=False, add_generation_prompt=True)

    def write(self, parts: list[tuple[str, bool]], images: list[tuple[Any, Size]]) -> Tokens:
        """Tokens of texts, each trained on or not; their image placeholders stand for ``images`` (key, seen size)."""
        out, pictures = Tokens(), iter(images)
        for text, trained in parts:
            ids: list[int] = []
            for token in self._encode(text):
                if token == self.image_token:
                    key, (width, height) = next(pictures)
                    ids += [token] * (width // self.frame.token_side * (height // self.frame.token_side))
                    out.images.append(key)
                else:
                    ids.append(token)
            out.ids += ids
            out.trained += [trained] * len(ids)
        return out

    def dialogue(self, act: Act, scene: tuple[Any, Size], crop: tuple[Any, Size] | None) -> Tokens:
        """The whole dialogue of a demonstration; ``crop`` is None when it answers at once."""
        question = act.question
        parts = [(self.prompt(question.text), False)]
        if crop is None:
            parts.append((thought(question.subject) + answer(act.answer), True))
            return self.write(parts, [scene])
        parts.append((thought(question.subject) + call(act.label, self.frame.box(act.cell)), True))
        parts += [(self.observation(crop[1]), False), (answer(act.answer), True)]
        return self.write(parts, [scene, crop])

    def _encode_text(self, text: str) -> list[int]:
        return self.processor.tokenizer.encode(text, add_special_tokens=False)
