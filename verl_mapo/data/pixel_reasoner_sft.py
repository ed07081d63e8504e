# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""PixelReasoner-SFT-Data: 7,850 dialogues about images and videos, with and without crops."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from verl_mapo.data.base import MARK, Example, LeftOut, Pictures, unpack
from verl_mapo.data.pixel_reasoner import GUIDELINES, picture_at
from verl_mapo.data.published import first_of, text_in
from verl_mapo.data.supervised import Dialogue, SupervisedSet, fractions_of, refuse_other_tool, zoom_turn
from verl_mapo.rollout.parser import ToolCall, read_calls
from verl_mapo.tools.coordinates import Size

_CROPS = ("crop_image_normalized", "crop_image", "zoom_in")


class PixelReasonerSFT(SupervisedSet):
    """7,850 dialogues, about 2,000 of them without a call; those about videos are left out on purpose.

    ``release.json`` is a list of ``{qid, message_list}``; a message is ``{role, content}``, and ``content`` a list of
    parts with ``text``, ``image`` (a path in ``images.zip``) or ``video``. A call is
    ``<tool_call>{"name": "crop_image_normalized", "arguments": {"bbox_2d": [0..1], "target_image": 1}}</tool_call>``;
    images count from 1. Boxes whose numbers are all at most 1 are parts of the sides of the image that they are about,
    any others pixels of it, as the prompt of ``crop_image`` says. The system prompt and ``Guidelines: ...`` behind the
    question are stripped. The published crops only give their size. A turn may have text without ``<think>`` tags; it
    stays as it is.
    """

    name = "PixelReasoner-SFT"
    hub_id = "TIGER-Lab/PixelReasoner-SFT-Data"
    files = ("release.json", "data/*.json")

    def examples(self, source: Path) -> Iterator[Example | LeftOut]:
        """See :class:`DataSet`; ``images.zip`` is unpacked next to itself unless the folder ``images`` exists."""
        unpack(source / "images.zip", source / "images")
        return super().examples(source)

    def dialogue(self, index: int, example: Example, pictures: Pictures) -> Dialogue:
        """See :class:`SupervisedSet`."""
        asked, *rest = [one for one in first_of(example, ("message_list",)) if one["role"] != "system"]
        if any(_held(message, "video") for message in (asked, *rest)):
            raise LeftOut("video", "the dialogue is about a video")
        images = [picture_at(path, pictures) for path in _held(asked, "image")]
        shown, turns = list(images), []
        for message in rest:
            if message["role"] == "assistant":
                turns.append(_turn(text_in(message["content"]), [(one.width, one.height) for one in shown]))
            else:
                shown += [picture_at(path, pictures) for path in _held(message, "image")]
        # The images stand behind the text in the set; a neutral row has them before it.
        question = re.split(GUIDELINES, text_in(asked["content"]))[0].replace(MARK, "")
        return Dialogue(question, images, turns, self.id_of(index, example))


def _held(message: Mapping[str, Any], kind: str) -> list[Any]:
    """What the parts of a message hold under ``image`` or ``video``."""
    parts = message["content"] if isinstance(message["content"], list) else []
    return [part[kind] for part in parts if isinstance(part, Mapping) and part.get(kind)]


def _turn(text: str, sizes: Sequence[Size]) -> str:
    """A turn with its call in our form.

    Args:
        text: as published.
        sizes: (width, height) of each image shown so far.
    """
    call = next(iter(read_calls(text)), None)
    if call is None:
        return text.strip()
    if not isinstance(call, ToolCall) or call.name not in _CROPS or not isinstance(call.arguments, Mapping):
        refuse_other_tool(getattr(call, "name", "a tool in a form that is not read"))
    image = int(call.arguments.get("target_image", 1)) - 1
    if not 0 <= image < len(sizes):
        refuse_other_tool(f"a crop of image {image + 1}, of which {len(sizes)} were shown")
    box = call.arguments["bbox_2d"]
    fractions = box if max(box) <= 1 else fractions_of(box, sizes[image])
    return zoom_turn(text[: call.place[0]] + text[call.place[1] :], fractions, image)
