# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Public sets of dialogues for a cold start: rows with the turns that the model is to write.

The dialogues were written for other tools. What they call becomes a call of the tool ``zoom`` here, with the box in
thousandths of the sides of the image that it is about, and ``extra_info.more`` says so (:data:`BOX_UNITS`); a run of
``verl-mapo sft`` writes them in the units of its model (:mod:`verl_mapo.coldstart.box_units`). Observations are not
kept: the run makes its own. None of these sets says beforehand what a crop will show, so their calls have no label.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from verl_mapo.data.base import DataSet, Example, LeftOut, Picture, Pictures, make_row, target_of
from verl_mapo.data.rows import SupervisedRow
from verl_mapo.rewards.answers import extract
from verl_mapo.rollout.parser import CLOSE, OPEN, ToolCall, read_calls
from verl_mapo.tools.coordinates import CoordinateSpace, Size
from verl_mapo.tools.zoom import Zoom

UNITS = CoordinateSpace.normalized_1000
"""The units of the boxes in the turns."""

BOX_UNITS = "box_units"
"""The key of :data:`UNITS` in ``extra_info.more``."""

_ROUNDING = 0.01
"""Part of a side by which a published box may reach over the edge of its image; it is then cut at the edge [ours]."""


@dataclass(frozen=True)
class Dialogue:
    """A dialogue as its set publishes it, with its calls in the form of the tool ``zoom``.

    Attributes:
        question: the question without the set's own instructions.
        images: the images before the first turn.
        turns: what the model wrote in each turn; every turn but the last ends with a call.
        id: the name of the example.
        more: what only this set has.
    """

    question: str
    images: list[Picture]
    turns: list[str]
    id: str
    more: dict[str, Any] = field(default_factory=dict)


class SupervisedSet(DataSet):
    """A set of dialogues, each of which becomes a neutral row with the column ``turns``."""

    supervised = True

    @abstractmethod
    def dialogue(self, index: int, example: Example, pictures: Pictures) -> Dialogue:
        """The dialogue of an example.

        Args:
            index, example, pictures: see :meth:`DataSet.row`.

        Raises:
            LeftOut: the example becomes no row.
        """

    def row(self, index: int, example: Example, pictures: Pictures) -> SupervisedRow:
        """See :class:`DataSet`; the truth of the row is the answer of the last turn.

        Raises:
            LeftOut: ``unfinished``, the last turn calls a tool or has no answer; ``malformed``, a turn before it does
                not end with one call that the loop reads; or what :meth:`dialogue` raises.
        """
        dialogue = self.dialogue(index, example, pictures)
        *calling, last = dialogue.turns or [""]
        answer = "" if read_calls(last) else extract(last)
        if not answer:
            raise LeftOut("unfinished", f"the last turn has no answer: {last[-80:]!r}")
        for number, turn in enumerate(calling):
            calls = read_calls(turn, lenient=False)
            if len(calls) != 1 or not isinstance(calls[0], ToolCall) or calls[0].place[1] != len(turn):
                raise LeftOut("malformed", f"turn {number} does not end with one call: {turn[-80:]!r}")
        row = make_row(
            self.name,
            index,
            dialogue.question,
            dialogue.images,
            target_of(answer, question=dialogue.question),
            id=dialogue.id,
            more={BOX_UNITS: UNITS.value, **dialogue.more},
        )
        return {**row, "turns": dialogue.turns}


def zoom_turn(text: str, fractions: Sequence[float], image: int) -> str:
    """A turn that ends with a call of the tool ``zoom``.

    Args:
        text: what stands before the call.
        fractions: the box ``[x1, y1, x2, y2]`` in parts of the sides of the image that it is about, from 0 to 1.
        image: index of that image among those shown, from 0.

    Raises:
        LeftOut: ``malformed``, the box is not four numbers; ``box_outside``, it is not inside the image or has no area.
    """
    try:
        x1, y1, x2, y2 = box = [float(value) for value in fractions]
    except (TypeError, ValueError):
        raise LeftOut("malformed", f"the box {fractions!r:.80} is not four numbers") from None
    if not (min(box) >= -_ROUNDING and max(box) <= 1 + _ROUNDING):
        raise LeftOut("box_outside", f"the box {box} is not inside an image whose sides are 1")
    thousandths = [round(1000 * min(max(value, 0.0), 1.0)) for value in (x1, y1, x2, y2)]
    if thousandths[0] >= thousandths[2] or thousandths[1] >= thousandths[3]:
        raise LeftOut("box_outside", f"the box {box} has no area")
    call = call_text(Zoom.name, {"bbox_2d": thousandths, "img_idx": image})
    return "\n".join(part for part in (text.strip(), call) if part)


def call_text(name: str, arguments: Mapping[str, Any]) -> str:
    """The text of a call of a tool."""
    return f"{OPEN}\n{json.dumps({'name': name, 'arguments': dict(arguments)}, ensure_ascii=False)}\n{CLOSE}"


def fractions_of(box: Sequence[float], size: Size) -> list[float]:
    """A box in pixels of an image of (width, height) ``size``, in parts of its sides."""
    return [value / side for value, side in zip(box, (*size, *size), strict=True)]


def refuse_other_tool(what: str) -> NoReturn:
    """Leave out a dialogue that needs something else than a crop.

    Raises:
        LeftOut: ``other_tool``.
    """
    raise LeftOut("other_tool", f"the dialogue needs {what}")
