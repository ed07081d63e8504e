# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Reads converted rows back, each with its images checked as at conversion: by their heads and ends, not decoded."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verl_mapo.data.boxes import pixel_boxes
from verl_mapo.data.pictures import Picture, Pictures
from verl_mapo.data.reading import count_examples, read_examples
from verl_mapo.data.reasons import FAULTS_OF_VALUES, LeftOut
from verl_mapo.data.rows import MARK, check_options, need
from verl_mapo.rollout.decode import UnreadableImage
from verl_mapo.rollout.row_pictures import AskedSize, source_of
from verl_mapo.settings import ConfigError

_PATTERN = "[!.]*.parquet"


@dataclass(frozen=True)
class ReadRow:
    """A converted row.

    Attributes:
        number: its position among all rows that were read, from 0.
        id: its name in the set.
        data_source: name of the data set.
        style: how its answer is checked.
        truth: the correct answer, as the row has it.
        options: texts of a multiple choice.
        messages: its prompt; a text with images is a list of parts ``{"type": "text", "text": ...}`` and
            ``{"type": "image"}``, as verl makes it.
        images: its images, with the size that the row asks for.
        boxes: regions of the first image, each ``[x1, y1, x2, y2]`` in pixels.
    """

    number: int
    id: str
    data_source: str
    style: str
    truth: Any
    options: list[str]
    messages: list[dict[str, Any]]
    images: list[tuple[Picture, AskedSize]]
    boxes: list[list[float]]


def read_rows(place: Path) -> Iterator[ReadRow | LeftOut]:
    """The rows of a converted set as a stream, in the order of the files' names.

    Args:
        place: a folder with ``.parquet`` files, or one such file.

    Yields:
        A row; or a :class:`LeftOut` for one that cannot be shown to a model, and for a file that cannot be read
        further, which stands for the rows that it still holds.

    Raises:
        ConfigError: there is no such file.
    """
    folder, pattern = _files(place)
    pictures = Pictures(folder, folder)
    for number, example in enumerate(read_examples(folder, [pattern])):
        if isinstance(example, LeftOut):
            yield example
            continue
        try:
            yield _row(number, example, pictures)
        except LeftOut as left:
            yield LeftOut(left.reason, f"row {number}: {left.detail}")
        except FAULTS_OF_VALUES as error:
            yield LeftOut("malformed", f"row {number}: {type(error).__name__}: {error}")


def count_rows(place: Path) -> int | None:
    """How many rows a converted set holds, from the heads of its files; None where a file does not tell."""
    folder, pattern = _files(place)
    return count_examples(folder, [pattern])


def _files(place: Path) -> tuple[Path, str]:
    """The folder of a place, and the pattern of its files."""
    if place.is_file():
        return place.parent, glob.escape(place.name)
    if not any(place.glob(_PATTERN)):
        what = "holds no .parquet file" if place.exists() else "does not exist"
        raise ConfigError(f"{place} {what}: give the folder that verl-mapo data convert wrote, or one of its files.")
    return place, _PATTERN


def _row(number: int, example: Mapping[str, Any], pictures: Pictures) -> ReadRow:
    target = example.get("reward_model") or {}
    extra = example.get("extra_info") or {}
    listed = example.get("images") or []
    if not isinstance(listed, list):
        raise LeftOut("malformed", f"images is {type(listed).__name__}, no list")
    images = [_image(image, pictures) for image in listed]
    messages = [_message(message, bool(images)) for message in need(example, "prompt", list)]
    marks = sum(part == {"type": "image"} for message in messages for part in _parts(message))
    if marks != len(images):
        raise LeftOut("image_marks", f"the prompt has {marks} x {MARK}, and there are {len(images)} images")
    options = list(target.get("options") or [])
    check_options(options)
    boxes = extra.get("boxes")
    if boxes and not images:
        raise LeftOut("malformed", "the row has boxes and no image")
    return ReadRow(
        number=number,
        id=str(extra.get("id") or extra.get("index", number)),
        data_source=str(example.get("data_source")),
        style=str(target.get("style")),
        truth=target.get("ground_truth"),
        options=options,
        messages=messages,
        images=images,
        boxes=pixel_boxes(boxes, images[0][0]) if boxes else [],
    )


def _image(image: Any, pictures: Pictures) -> tuple[Picture, AskedSize]:
    source = source_of(image) if isinstance(image, Mapping) else image
    if not isinstance(source, str):
        kind = "nothing" if source is None else type(source).__name__
        raise LeftOut("malformed", f"an image is {kind}, no path: convert the set with verl-mapo data convert")
    try:
        asked = AskedSize.of(image) if isinstance(image, Mapping) else AskedSize()
    except UnreadableImage as error:
        raise LeftOut("malformed", f"{source}: {error}") from None
    return pictures.at(source), asked


def _message(message: Any, has_images: bool) -> dict[str, Any]:
    """A message as verl makes it: where the row has images, ``<image>`` stands for a part of its own."""
    if not isinstance(message, Mapping) or not isinstance(message.get("content"), str):
        raise LeftOut("malformed", "a message of the prompt has no text")
    content = message["content"]
    if not has_images:
        if MARK in content:
            raise LeftOut("image_marks", f"the prompt has {MARK}, and there is no image")
        return {"role": message.get("role"), "content": content}
    pieces = [piece for piece in re.split(f"({MARK})", content) if piece]
    parts = [{"type": "image"} if piece == MARK else {"type": "text", "text": piece} for piece in pieces]
    return {"role": message.get("role"), "content": parts}


def _parts(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    return message["content"] if isinstance(message["content"], list) else []
