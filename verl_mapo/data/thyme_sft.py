# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Thyme-SFT: dialogues in which the model writes Python; those that only crop become zooms."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from PIL import Image, UnidentifiedImageError

from verl_mapo.data.base import Example, LeftOut, Pictures
from verl_mapo.data.published import first_of
from verl_mapo.data.python_crops import NoCrop, read_crop
from verl_mapo.data.supervised import Dialogue, SupervisedSet, fractions_of, refuse_other_tool, zoom_turn
from verl_mapo.data.thyme import INSTRUCTIONS
from verl_mapo.rollout.parser import END_OF_THINKING, OPEN, THINK
from verl_mapo.rollout.row_pictures import embedded_bytes
from verl_mapo.tools.coordinates import Size

_SANDBOX = re.compile(r"<sandbox_output>.*?</sandbox_output>", re.DOTALL)
_CODE = re.compile(r"<code>\s*(?:```)?\s*(?:python)?\s*\n?(.*?)(?:```)?\s*</code>", re.DOTALL)
_PATH = re.compile(r"User Image Path:?\**:?[ \t\"'`]*([^\"'`\n]*[^\"'`\s])")
_ABOUT_CODE = re.compile(r"(?:(?<=[.!?\n])|\A)[^.!?\n]*\b(?:Python|code)\b[^.!?\n]*[:.]\s*\Z", re.IGNORECASE)
_OTHER_FORM = 0.1
"""Relative difference of the aspect ratios of a box and of the published crop from which on the box is not believed."""


class ThymeSFT(SupervisedSet):
    """345,973 dialogues with Python code, of which those are taken whose code crops an image and does nothing else.

    Parquet shards of three parts (``wo_thinking_thyme_single_round``, ``2round``, ``computation``) have ``image``,
    base64 texts of the original and of what the code made; ``question``, which ends with ``### User Image Path``, size
    and format; and ``response``: ``<think>``, ``<code>``, ``<sandbox_output>`` and ``<answer>`` in one text. The text
    is cut into turns at the outputs of the sandbox, and a thought that goes on over a call is closed and opened again,
    since the loop reads no call inside a thought. Boxes are pixels of the image that the code opens: the original where
    the file has its name, else the last image made [inferred]. A box whose form is not that of the published crop is
    not believed. All else (rotation, contrast, computation) is left out on purpose, as ``other_tool``.
    """

    name = "Thyme-SFT"
    hub_id = "Kwai-Keye/Thyme-SFT"

    def dialogue(self, index: int, example: Example, pictures: Pictures) -> Dialogue:
        """See :class:`SupervisedSet`."""
        asked, response = first_of(example, ("question",)), first_of(example, ("response",))
        published = first_of(example, ("image",))
        if not published:
            refuse_other_tool("code without an image")
        original = pictures.of(published[0])
        sizes = [(original.width, original.height), *map(_size, published[1:])]
        path = _PATH.search(asked)
        *calling, last = _SANDBOX.split(response)
        turns = [_turn(text, number, sizes, path[1] if path else "") for number, text in enumerate(calling)]
        if _CODE.search(last):
            refuse_other_tool("code without an output")
        question = re.split("|".join(INSTRUCTIONS), asked)[0]
        return Dialogue(question, [original], _with_thoughts([*turns, last.strip()]), str(index))


def _size(image: Any) -> Size:
    """(width, height) in pixels of a published crop, base64 text."""
    try:
        with Image.open(io.BytesIO(embedded_bytes(image) or b"")) as opened:
            return opened.size
    except (UnidentifiedImageError, OSError, ValueError) as error:
        raise LeftOut("broken_image", f"a published crop: {type(error).__name__}: {error}") from None


def _turn(text: str, number: int, sizes: Sequence[Size], path: str) -> str:
    """The text before an output of the sandbox, with its code as a call.

    Args:
        text: as published, with one piece of code.
        number: how many outputs came before.
        sizes: (width, height) of the original and of each published output.
        path: the path of the original that the question names.
    """
    codes = list(_CODE.finditer(text))
    if len(codes) != 1 or number + 1 >= len(sizes):
        refuse_other_tool(f"{len(codes)} pieces of code before an output, or an output without an image")

    def place(file: str) -> int:
        """Index of the image that the code opens."""
        return 0 if PurePosixPath(file).name == PurePosixPath(path).name else number

    try:
        crop = read_crop(codes[0][1], lambda file: sizes[place(file)])
    except NoCrop as error:
        refuse_other_tool(f"code: {error}")
    x1, y1, x2, y2 = crop.box
    width, height = sizes[number + 1]
    if not (x1 < x2 and y1 < y2) or abs((x2 - x1) * height / ((y2 - y1) * width) - 1) > _OTHER_FORM:
        refuse_other_tool(f"code: the box {list(crop.box)} has not the form of its crop, {width} x {height}")
    before = _ABOUT_CODE.sub("", text[: codes[0].start()].rstrip()).rstrip()
    behind = text[codes[0].end() :].strip()
    fractions = fractions_of(crop.box, sizes[place(crop.file)])
    return zoom_turn(before + behind, fractions, place(crop.file))


def _with_thoughts(turns: Sequence[str]) -> list[str]:
    """The turns with every thought opened and closed in its own turn."""
    written, goes_on = [], False
    for turn in turns:
        text = f"{THINK}{turn}" if goes_on else turn
        goes_on = text.count(THINK) > text.count(END_OF_THINKING)
        if goes_on:
            said, call, rest = text.partition(f"{OPEN}\n")
            text = f"{said.rstrip()}{END_OF_THINKING}\n{call}{rest}".rstrip()
        written.append(text)
    return written
