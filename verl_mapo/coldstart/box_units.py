# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Turns of public sets, whose boxes are in the same units for all models, with the boxes in the units of one model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from verl_mapo.data.supervised import BOX_UNITS, UNITS, zoom_call
from verl_mapo.rollout.parser import ToolCall, read_calls
from verl_mapo.tools.base import ArgumentError
from verl_mapo.tools.coordinates import BoxError, CoordinateSpace
from verl_mapo.tools.image_history import ImageHistory
from verl_mapo.tools.zoom import Zoom


class UnknownUnits(ValueError):
    """A row does not tell the units of its boxes in a form that is read; the message is a sentence."""


def units_of(extra_info: Mapping[str, Any] | None) -> CoordinateSpace | None:
    """The units of the boxes in the turns of a row, told by ``extra_info.more``; None for those of the model.

    Raises:
        UnknownUnits: ``extra_info.more`` is no JSON object, or it names other units than there are.
    """
    given = (extra_info or {}).get("more") or "{}"
    try:
        more = json.loads(given)
        return CoordinateSpace(more[BOX_UNITS]) if BOX_UNITS in more else None
    except (TypeError, ValueError):
        known = ", ".join(space.value for space in CoordinateSpace)
        raise UnknownUnits(
            f"Its extra_info.more is {given!r:.100}: it should be a JSON object, in which {BOX_UNITS} may be one of "
            f"{known}."
        ) from None


def respelled(turns: Sequence[str], zoom: Zoom, history: ImageHistory) -> list[str]:
    """The turns with their boxes in the units of a model.

    The calls are carried out in order, because a box in pixels counts those of an image as the model saw it. A call
    that cannot be carried out stays as it is, for the loop to refuse.

    Args:
        turns: the turns of a row whose boxes are in :data:`verl_mapo.data.supervised.UNITS`.
        zoom: the tool of the run, which knows the units of its model.
        history: the images of the prompt as the model sees them; it grows by one image for each call.
    """
    if zoom.context.space is UNITS:
        return list(turns)
    published = type(zoom)(replace(zoom.context, space=UNITS), zoom.options)
    return [_respelled(turn, zoom.context.space, published, history) for turn in turns]


def _respelled(turn: str, space: CoordinateSpace, zoom: Zoom, history: ImageHistory) -> str:
    call = next((one for one in read_calls(turn, lenient=False) if isinstance(one, ToolCall)), None)
    if call is None or call.name != zoom.name:
        return turn
    try:
        arguments = zoom.parse(call.arguments)
        size = history.view(arguments.img_idx).size
        history.add(zoom.run(arguments, history))
    except (ArgumentError, BoxError):
        return turn
    if space is CoordinateSpace.pixels:
        box = [round(value) for value in UNITS.to_view(zoom.box_of(arguments), size)]
    else:
        box = [round(value / 1000, 3) for value in arguments.bbox_2d]
    begin, end = call.place
    return turn[:begin] + zoom_call(box, arguments.img_idx) + turn[end:]
