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
"""One trajectory as the template draws it: plain values, made from what the model wrote, nothing escaped yet."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from verl_mapo.report.load import Rollout
from verl_mapo.report.pictures import area, called, cut, jpeg_url, open_originals, original_size
from verl_mapo.report.token_colours import Tint, tints
from verl_mapo.rollout.parser import OPEN

_CALL = re.compile(r"<tool_call>\s*(.*?)\s*</tool_call>", re.DOTALL)
_SCENE_SIDE, _CROP_SIDE = 640, 200
_HEAD, _TAIL = 500, 250
"""Characters of a long text that are kept at its start and at its end."""


@dataclass(frozen=True)
class Mark:
    """A box on a scene, pixels of the original; ``kind`` is ``said`` or ``executed``."""

    turn: int
    kind: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Scene:
    """One original with its boxes; ``url`` is empty where the image is gone."""

    width: int
    height: int
    url: str
    name: str
    marks: list[Mark]


@dataclass(frozen=True)
class Step:
    """One turn, beside its record.

    Attributes:
        turn: the turn's record.
        called: whether it tried to call a tool.
        segments: what the model wrote, in pieces of kind ``text`` or ``call``.
        crop: what it was shown, a ``data:`` URL; empty where it was shown nothing or the image is gone.
        area: share of the original that was cut; None where nothing was.
        asked: whether the box as said is drawn; where it is not, its numbers are printed.
    """

    number: int
    turn: dict[str, Any]
    called: bool
    segments: list[tuple[str, str]]
    crop: str
    area: float | None
    asked: bool


@dataclass(frozen=True)
class Card:
    """One trajectory, with a word on why it is shown.

    Attributes:
        tints: its tokens, once a measure; none where no focus was written down.
    """

    title: str
    rollout: Rollout
    scenes: list[Scene]
    steps: list[Step]
    tints: list[Tint]


def card(title: str, rollout: Rollout, root: Path, shared: str = "") -> Card:
    """Everything there is to draw of a rollout.

    Args:
        root: the run folder.
        shared: what its first turn begins with, up to and with the tag of a call, and what is told elsewhere.
    """
    trajectory = rollout.trajectory
    originals = open_originals(trajectory, root)
    scenes = [_scene(trajectory, index, original) for index, original in enumerate(originals)]
    steps = [_step(number, turn, trajectory, originals, shared) for number, turn in enumerate(trajectory["turns"], 1)]
    return Card(title, rollout, scenes, steps, tints(rollout.credit) if rollout.focused else [])


def _scene(trajectory: dict[str, Any], index: int, original: Image.Image | None) -> Scene:
    marks = []
    for number, turn in enumerate(trajectory["turns"], 1):
        if turn["image"] == index:
            boxes = (("said", turn["box_asked"]), ("executed", turn["box_executed"]))
            marks += [_mark(number, kind, box) for kind, box in boxes if box is not None]
    url = "" if original is None else jpeg_url(original, _SCENE_SIDE)
    name = Path(trajectory["images"][index]).name or "not stored as a file"
    return Scene(*original_size(trajectory, index, original), url, name, marks)


def _mark(number: int, kind: str, box: list[float]) -> Mark:
    x1, y1, x2, y2 = box
    return Mark(number, kind, x1, y1, x2 - x1, y2 - y1)


def _step(
    number: int, turn: dict[str, Any], trajectory: dict[str, Any], originals: list[Image.Image | None], shared: str
) -> Step:
    crop, text = cut(turn, originals), turn["text"]
    if number == 1 and shared and text.startswith(shared):
        text = OPEN + text.removeprefix(shared)
    share = None
    if turn["box_executed"] is not None:
        share = area(turn, original_size(trajectory, turn["image"], originals[turn["image"]]))
    return Step(
        number,
        turn,
        called(turn),
        segments(text),
        "" if crop is None else jpeg_url(crop, _CROP_SIDE),
        share,
        turn["box_asked"] is not None,
    )


def segments(text: str) -> list[tuple[str, str]]:
    """What a model wrote in pieces: ``("text", ...)``, and ``("call", ...)`` with its JSON laid out to be read."""
    pieces = _CALL.split(shortened(text))
    found = [("call", _laid_out(piece)) if index % 2 else ("text", piece.strip()) for index, piece in enumerate(pieces)]
    return [(kind, piece) for kind, piece in found if piece]


def shortened(text: str) -> str:
    """A text, or its start and its end where it is long."""
    if len(text) <= _HEAD + _TAIL:
        return text
    return f"{text[:_HEAD]} \u2026 ({len(text) - _HEAD - _TAIL} characters left out) \u2026 {text[-_TAIL:]}"


def _laid_out(call: str) -> str:
    try:
        value = json.loads(call)
    except (ValueError, RecursionError):
        return call
    if not isinstance(value, dict) or not isinstance(value.get("arguments"), dict):
        return call
    lines = [f"{name}: {json.dumps(argument, ensure_ascii=False)}" for name, argument in value["arguments"].items()]
    return "\n".join([str(value.get("name", "")), *(f"  {line}" for line in lines)])
