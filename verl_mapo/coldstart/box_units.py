# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Turns of public sets, whose boxes are in the same units for all models, with the boxes in the units of one model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from verl_mapo.data.supervised import BOX_UNITS, UNITS, call_text, fractions_of
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


def without_units(extra_info: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The ``extra_info`` of a row whose turns were replaced by those of a model: its boxes are in that model's units.

    All else in ``extra_info.more`` stays; text there that is no JSON object stays as it is.
    """
    given = (extra_info or {}).get("more")
    try:
        more = json.loads(given or "{}")
    except (TypeError, ValueError):
        return extra_info
    if not isinstance(more, dict) or BOX_UNITS not in more:
        return extra_info
    kept = {name: value for name, value in more.items() if name != BOX_UNITS}
    return {**extra_info, "more": json.dumps(kept, ensure_ascii=False)}


def respelled(turns: Sequence[str], zoom: Zoom, history: ImageHistory, units: CoordinateSpace = UNITS) -> list[str]:
    """The turns with their boxes in the units of a model.

    The calls are carried out in order, because a box in pixels counts those of an image as the model saw it. A call
    that cannot be carried out stays as it is, for the loop to refuse. Of any other call, only the box changes.

    Args:
        turns: the turns of a row.
        zoom: the tool of the run, which knows the units of its model.
        history: the images of the prompt as the model sees them; it grows by one image for each call.
        units: of the boxes in the turns; pixels are those of an image as the model of this run sees it.
    """
    if zoom.context.space is units:
        return list(turns)
    published = type(zoom)(replace(zoom.context, space=units), zoom.options)
    return [_respelled(turn, zoom.context.space, published, history) for turn in turns]


def _respelled(turn: str, space: CoordinateSpace, zoom: Zoom, history: ImageHistory) -> str:
    call = next((one for one in read_calls(turn, lenient=False) if isinstance(one, ToolCall)), None)
    if call is None or call.name != zoom.name:
        return turn
    try:
        arguments = zoom.parse(call.arguments)
        size = history.view(arguments.img_idx).size
        history.add(zoom.run(arguments, history))
        seen = zoom.context.space.to_view(zoom.box_of(arguments), size)
    except (ArgumentError, BoxError):
        return turn
    if space is CoordinateSpace.pixels:
        box = [round(value) for value in seen]
    elif space is CoordinateSpace.normalized_1000:
        box = [round(1000 * value) for value in fractions_of(seen, size)]
    else:
        box = [round(value, 3) for value in fractions_of(seen, size)]
    begin, end = call.place
    return turn[:begin] + call_text(zoom.name, {**call.arguments, "bbox_2d": box}) + turn[end:]
