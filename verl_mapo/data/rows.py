# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The neutral row: one schema for all sets, and the reasons for which an example becomes no row."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict, TypeVar

import pyarrow as pa

from verl_mapo.data.pictures import Picture
from verl_mapo.data.reasons import LeftOut

T = TypeVar("T")

MARK = "<image>"
"""What stands in a prompt for the next image of the row."""

VIDEO_MARK = "<video>"
"""What stands in a prompt for the next video of the row, which verl's data set would look for."""

MOST_OPTIONS = 26
"""Largest number of options of a multiple choice, which are named A to Z."""


class Message(TypedDict):
    """One message of a prompt.

    Keys:
        role: ``user``; a dialogue before the question may have ``assistant``. A neutral row has no ``system`` message.
        content: the text; each ``<image>`` in it stands for the next image of the row.
    """

    role: str
    content: str


class ImagePath(TypedDict, total=False):
    """An image of a row.

    Keys:
        image: ``file://`` and the absolute path of the file, the one form that verl's RL and SFT data sets both read.
        max_pixels: the model sees the image at no more than this many pixels; crops are still cut out of all its
            pixels. :func:`verl_mapo.data.convert` writes it into every image or into none.
    """

    image: str
    max_pixels: int


class RewardModel(TypedDict):
    """How the answer is checked.

    Keys:
        style: a name in :data:`verl_mapo.rewards.answers.CHECKS`, the dotted path of an answer check, or ``judge``
            where no rule can check the answer.
        ground_truth: the correct answer.
        options: the texts of a multiple choice, A first; None without options.
    """

    style: str
    ground_truth: str
    options: list[str] | None


class ExtraInfo(TypedDict):
    """What a row tells beside question and answer.

    Keys:
        index: the example's position in the source, from 0.
        id: the example's name, unique in the set.
        boxes: regions of the row's first image that show the answer, each ``[x1, y1, x2, y2]`` in pixels of that image
            as it is stored and turned upright; None where the set tells none.
        difficulty: a number that grows with the difficulty where the set has one, such as 1 minus a pass rate.
        more: a JSON object with what only this set has, such as its category.
    """

    index: int
    id: str
    boxes: list[list[float]] | None
    difficulty: float | None
    more: str


class Row(TypedDict):
    """One training example in verl's schema. Neither tools nor instructions are in it: the agent loop adds these.

    Keys:
        data_source: name of the data set; metrics and report are broken down by it.
        prompt: the messages, with one ``<image>`` for each image.
        images: the images, in the order of their ``<image>``; may be empty.
        reward_model: how the answer is checked.
        extra_info: everything else.
    """

    data_source: str
    prompt: list[Message]
    images: list[ImagePath]
    reward_model: RewardModel
    extra_info: ExtraInfo


class SupervisedRow(Row):
    """A row for supervised training.

    Keys:
        turns: the text that the model is to write in each turn, in order, without end token. Observations are not in
            it: the run makes them by its own tools.
    """

    turns: list[str]


def schema(with_max_pixels: bool = False, with_turns: bool = False) -> pa.Schema:
    """Columns of the parquet file.

    Args:
        with_turns: whether the rows are those of a :class:`SupervisedRow`.
        with_max_pixels: whether the images have ``max_pixels``. Without it there is no such column, because
            qwen_vl_utils, which verl's own data sets call, does not take an empty limit.
    """
    image = {"image": pa.string()} | ({"max_pixels": pa.int64()} if with_max_pixels else {})
    return pa.schema(
        {
            "data_source": pa.string(),
            "prompt": pa.list_(pa.struct({"role": pa.string(), "content": pa.string()})),
            "images": pa.list_(pa.struct(image)),
            "reward_model": pa.struct(
                {"style": pa.string(), "ground_truth": pa.string(), "options": pa.list_(pa.string())}
            ),
            "extra_info": pa.struct(
                {
                    "index": pa.int64(),
                    "id": pa.string(),
                    "boxes": pa.list_(pa.list_(pa.float64())),
                    "difficulty": pa.float64(),
                    "more": pa.string(),
                }
            ),
        }
        | ({"turns": pa.list_(pa.string())} if with_turns else {})
    )


def make_row(
    data_source: str,
    index: int,
    question: str,
    pictures: Sequence[Picture],
    target: RewardModel,
    *,
    id: str | int | None = None,
    boxes: Sequence[Sequence[float]] | None = None,
    difficulty: float | None = None,
    more: Mapping[str, Any] | None = None,
) -> Row:
    """A row with one user message.

    Args:
        data_source: name of the data set.
        index: the example's position in the source.
        question: the question without instructions and tool text. Where it has no ``<image>`` at all, one for each
            picture is put before it.
        pictures: the images in order.
        target: how the answer is checked, see :func:`verl_mapo.data.answer_kinds.target_of`.
        id: the example's name; ``index`` by default.
        boxes: regions in pixels of the first picture, see :func:`verl_mapo.data.boxes.pixel_boxes`.
        difficulty: see :class:`ExtraInfo`; NaN and infinity count as None.
        more: what only this set has; what JSON cannot hold is written as text.

    Raises:
        LeftOut: the question is empty, has ``<video>``, or has another number of ``<image>`` than there are pictures.
    """
    question = question.strip()
    hardness = math.nan if difficulty is None else float(difficulty)
    if VIDEO_MARK in question:
        raise LeftOut("video", f"the question has {VIDEO_MARK}")
    if not question.replace(MARK, "").strip():
        raise LeftOut("empty_question", "the question has no text")
    marks = question.count(MARK)
    if not marks and pictures:
        question, marks = MARK * len(pictures) + "\n" + question, len(pictures)
    if marks != len(pictures):
        raise LeftOut("image_marks", f"the question has {marks} x {MARK}, and there are {len(pictures)} images")
    return {
        "data_source": data_source,
        "prompt": [{"role": "user", "content": question}],
        "images": [picture.as_image() for picture in pictures],
        "reward_model": target,
        "extra_info": {
            "index": index,
            "id": str(index if id is None else id),
            "boxes": None if boxes is None else [[float(side) for side in box] for box in boxes],
            "difficulty": hardness if math.isfinite(hardness) else None,
            "more": json.dumps(more or {}, ensure_ascii=False, default=str),
        },
    }


def check_options(options: Sequence[str]) -> None:
    """Check that every option of a multiple choice has a letter.

    Raises:
        LeftOut: ``malformed``, there are more than :data:`MOST_OPTIONS`.
    """
    if len(options) > MOST_OPTIONS:
        raise LeftOut("malformed", f"there are {len(options)} options, and letters, from A to Z, for {MOST_OPTIONS}")


def need(example: Mapping[str, Any], column: str, kind: type[T] = str) -> T:
    """A value that the example must have.

    Args:
        example: an example, or a mapping inside one.
        column: the published column.
        kind: the type of the value.

    Raises:
        LeftOut: ``missing_column``, there is no such column or it is empty (None); ``malformed``, another type.
    """
    value = example.get(column)
    if value is None:
        raise LeftOut("missing_column", f"the example has no {column}")
    if not isinstance(value, kind):
        raise LeftOut("malformed", f"{column} is {value!r:.60}, no {kind.__name__}")
    return value
