# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""One trajectory as plain values for the template. Text is what the model wrote; the template escapes it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from verl_mapo.report.load import Rollout
from verl_mapo.report.pages import jpeg_url, shortened
from verl_mapo.report.pictures import open_originals, original_size, shown_image
from verl_mapo.report.token_colours import ColouredTokens, coloured_tokens
from verl_mapo.rollout.parser import OPEN
from verl_mapo.rollout.trajectory import Trajectory, Turn

_CALL = re.compile(r"<tool_call>\s*(.*?)\s*</tool_call>", re.DOTALL)
_ORIGINAL_SIDE, _RETURNED_SIDE = 640, 200
"""Longest side in pixels of an original, and of an image that a tool returned, as the page holds them."""


@dataclass(frozen=True)
class DrawnBox:
    """A box on an original.

    Attributes:
        turn: number of the turn, from 1.
        kind: ``requested`` for the box of the call, ``returned`` for the region that the tool returned.
        x, y, width, height: in pixels of the original.
    """

    turn: int
    kind: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class DrawnOriginal:
    """One original with the boxes of all turns on it.

    Attributes:
        width, height: in pixels of the original.
        url: a ``data:`` URL; empty where the image could not be read.
        name: file name.
        boxes: in the order of the turns.
    """

    width: int
    height: int
    url: str
    name: str
    boxes: list[DrawnBox]


@dataclass(frozen=True)
class DrawnTurn:
    """One turn.

    Attributes:
        number: its number in the rollout, from 1.
        turn: its record.
        segments: what the model wrote, in pieces of kind ``text`` or ``call``.
        image: the image that the tool returned, a ``data:`` URL; empty where there was none or it could not be read.
        area: share of the original that the returned region covers; None without a region.
    """

    number: int
    turn: Turn
    segments: list[tuple[str, str]]
    image: str
    area: float | None


@dataclass(frozen=True)
class Card:
    """One trajectory.

    Attributes:
        title: a heading that says which rollout it is and why it is shown.
        rollout: its record.
        originals: its originals with boxes.
        turns: its turns.
        tokens: its tokens, coloured by focus and again by advantage; empty where no focus was recorded.
    """

    title: str
    rollout: Rollout
    originals: list[DrawnOriginal]
    turns: list[DrawnTurn]
    tokens: list[ColouredTokens]


def card(title: str, rollout: Rollout, root: Path, shared: str = "") -> Card:
    """The card of a rollout.

    Args:
        title: a heading that says which rollout it is and why it is shown.
        rollout: its record.
        root: the run folder.
        shared: start of its first turn, through the opening tag of a call; left out because it is shown elsewhere.
    """
    trajectory = rollout.trajectory
    images = open_originals(trajectory, root)
    originals = [_original(trajectory, index, image) for index, image in enumerate(images)]
    turns = [_turn(number, turn, trajectory, images, shared) for number, turn in enumerate(trajectory.turns, 1)]
    return Card(title, rollout, originals, turns, coloured_tokens(rollout.credit) if rollout.has_focus else [])


def _original(trajectory: Trajectory, index: int, image: Image.Image | None) -> DrawnOriginal:
    boxes = []
    for number, turn in enumerate(trajectory.turns, 1):
        if turn.view and turn.view.image == index:
            kinds = (("requested", turn.box_asked), ("returned", turn.box_executed))
            boxes += [_box(number, kind, box) for kind, box in kinds if box is not None]
    url = "" if image is None else jpeg_url(image, _ORIGINAL_SIDE)
    name = Path(trajectory.images[index]).name or "not stored as a file"
    return DrawnOriginal(*original_size(trajectory, index, image), url, name, boxes)


def _box(number: int, kind: str, box: tuple[float, ...]) -> DrawnBox:
    x1, y1, x2, y2 = box
    return DrawnBox(number, kind, x1, y1, x2 - x1, y2 - y1)


def _turn(
    number: int, turn: Turn, trajectory: Trajectory, originals: list[Image.Image | None], shared: str
) -> DrawnTurn:
    image, text = shown_image(turn, originals), turn.text
    if number == 1 and shared and text.startswith(shared):
        text = OPEN + text.removeprefix(shared)
    url = "" if image is None else jpeg_url(image, _RETURNED_SIDE)
    return DrawnTurn(number, turn, segments(text), url, trajectory.crop_area(turn))


def segments(text: str) -> list[tuple[str, str]]:
    """A model's text in pieces: ``("text", ...)``, and ``("call", ...)`` with one line for each argument."""
    pieces = _CALL.split(shortened(text))
    found = [("call", _laid_out(piece)) if index % 2 else ("text", piece.strip()) for index, piece in enumerate(pieces)]
    return [(kind, piece) for kind, piece in found if piece]


def _laid_out(call: str) -> str:
    try:
        value = json.loads(call)
    except (ValueError, RecursionError):
        return call
    if not isinstance(value, dict) or not isinstance(value.get("arguments"), dict):
        return call
    lines = [f"{name}: {json.dumps(argument, ensure_ascii=False)}" for name, argument in value["arguments"].items()]
    return "\n".join([str(value.get("name", "")), *(f"  {line}" for line in lines)])
