# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Your own parquet, JSONL or JSON files, with the names of their columns given as options."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal

from pydantic import dataclasses

from verl_mapo.data.base import (
    BoxUnit,
    DataSet,
    Example,
    LeftOut,
    Pictures,
    RewardModel,
    Row,
    make_row,
    pixel_boxes,
    read_examples,
    target_of,
)
from verl_mapo.rewards.answers import find_check, options_of
from verl_mapo.rollout.row_pictures import is_filled, is_present
from verl_mapo.settings import STRICT, ConfigError

_COLUMNS = ("question", "answer", "images", "options", "boxes", "id", "difficulty", "data_source")
"""The options that name a column."""

_LOOKED_AT = 1000
"""Number of examples among which one has to have a column that an option names; JSON may leave out empty columns."""

_VIDEOS = "videos"
"""The column in which verl's rows have their videos."""


class Columns(DataSet):
    """Your own parquet, JSONL or JSON files, whose columns you name with --option.

    An example with ``<video>`` in its question, or with anything in a column ``videos``, is left out on purpose.

    Images are paths, absolute or relative to the source, or bytes, data URIs, or what ``datasets`` writes; one or a
    list. Where a question has no ``<image>``, one for each image is put before it.
    """

    name = "columns"

    @dataclasses.dataclass(frozen=True, config=STRICT)
    class Options:
        """The options of this set. A column inside another is written with dots, such as ``reward_model.ground_truth``.

        Attributes:
            question, answer, images: columns that every example must have; ``images=null`` for questions without.
            options: column with the list of the texts of a multiple choice; None for none.
            boxes: column with the regions that show the answer, in the first image; None for none.
            box_unit: pixels of the original image, or fractions or thousandths of its sides.
            box_form: two corners, or the first corner with width and height.
            id: column that names an example; None for the usual names, or else the index.
            difficulty: column with a number that grows with the difficulty; None for none.
            data_source: column with the name under which a row's metrics are logged; None for ``name``.
            name: the name under which metrics are logged, where no column tells it.
            style: how all answers are checked; None to choose by each truth.
            files: glob of the data files, relative to the source; None for all at its top and in ``data/``.
        """

        question: str = "question"
        answer: str = "answer"
        images: str | None = "images"
        options: str | None = None
        boxes: str | None = None
        box_unit: BoxUnit = "pixels"
        box_form: Literal["xyxy", "xywh"] = "xyxy"
        id: str | None = None
        difficulty: str | None = None
        data_source: str | None = None
        name: str = "columns"
        style: str | None = None
        files: str | None = None

        def __post_init__(self) -> None:
            """Check the style.

            Raises:
                ConfigError: it names no answer check.
            """
            try:
                find_check(self.style or "exact")
            except ValueError as error:
                raise ConfigError(f"--option style={self.style} is refused: {error}.") from None

    @property
    def files(self) -> tuple[str, ...]:
        """See :class:`DataSet`."""
        return (self.options.files,) if self.options.files else ()

    def examples(self, source: Path) -> Iterator[Example | LeftOut]:
        """See :class:`DataSet`.

        Raises:
            ConfigError: none of the first :data:`_LOOKED_AT` examples has a column that an option names.
        """
        examples = read_examples(source, self.files)
        first = [*islice(examples, _LOOKED_AT)]
        named = [example for example in first if isinstance(example, Mapping)]
        for option in _COLUMNS if named else ():
            column = getattr(self.options, option)
            if column is not None and not any(_has(example, column) for example in named):
                found = dict.fromkeys(chain.from_iterable(named))
                raise ConfigError(
                    f"--option {option}={column} is refused: of the first {len(named)} examples of {source}, none has "
                    f"it. They have the columns {', '.join(found)}. Name the right one with --option {option}=COLUMN."
                )
        return chain(first, examples)

    def id_of(self, index: int, example: Example) -> str:
        """See :class:`DataSet`."""
        value = self._value(example, "id")
        return super().id_of(index, example) if value is None else str(value)

    def row(self, index: int, example: Example, pictures: Pictures) -> Row:
        """See :class:`DataSet`."""
        if is_filled(example.get(_VIDEOS)):
            raise LeftOut("video", f"{_VIDEOS} is {example[_VIDEOS]!r:.60}")
        images = self._value(example, "images")
        if self.options.images is not None and not isinstance(images, list) and not is_filled(images):
            raise LeftOut("missing_image", f"{self.options.images} is {images!r}; an empty list is a row without image")
        images = images if isinstance(images, list) else [] if images is None else [images]
        question, boxes = self._text(example, "question"), self._value(example, "boxes")
        shown = [pictures.of(image) for image in images]
        if boxes is not None and not shown:
            raise LeftOut("missing_image", "the example has boxes and no image")
        if boxes is not None and not isinstance(boxes, list):
            raise LeftOut("malformed", f"{self.options.boxes} is {boxes!r:.60}, no list of numbers or of boxes")
        if boxes and not isinstance(boxes[0], list):
            boxes = [boxes]
        return make_row(
            str(self._value(example, "data_source") or self.options.name),
            index,
            question,
            shown,
            self._target(example, question),
            id=self.id_of(index, example),
            boxes=boxes and pixel_boxes(boxes, shown[0], self.options.box_unit, self.options.box_form),
            difficulty=self._value(example, "difficulty"),
        )

    def _target(self, example: Example, question: str) -> RewardModel:
        listed = self._value(example, "options")
        empty = isinstance(listed, str) and not listed.strip()  # as tables write a question without options
        truth, options = self._text(example, "answer"), options_of(None if empty else listed)
        if self.options.style is None:
            return target_of(truth, options, question)
        return {"style": self.options.style, "ground_truth": truth, "options": options or None}

    def _text(self, example: Example, option: str) -> str:
        value = self._value(example, option)
        if isinstance(value, list) and len(value) == 1:
            [value] = value
        if value is None:
            raise LeftOut("missing_column", f"the example has no {getattr(self.options, option)}")
        if not isinstance(value, str | int | float | Decimal):
            raise LeftOut("malformed", f"{getattr(self.options, option)} is {value!r:.60}, neither text nor number")
        return str(value)

    def _value(self, example: Example, option: str) -> Any:
        """What an example holds in the column that an option names; None without one, and for NaN."""
        column = getattr(self.options, option)
        value = None if column is None else _held(example, column)
        return value if is_present(value) else None


def _held(example: Any, column: str) -> Any:
    """What an example holds in a column, which may be inside others; None if nothing."""
    if isinstance(example, Mapping) and column in example:
        return example[column]
    outer, _, inner = column.partition(".")
    return _held(example.get(outer), inner) if inner and isinstance(example, Mapping) else None


def _has(example: Mapping[str, Any], column: str) -> bool:
    """Whether an example has a column, filled or not; of one inside others, the outermost is looked for."""
    return column in example or column.partition(".")[0] in example
