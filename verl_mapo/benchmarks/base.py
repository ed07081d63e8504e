# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The interface of a benchmark: a data set whose files, columns, number of questions and rules are known.

To add a benchmark, derive from :class:`Benchmark`, declare its layouts and write :meth:`Benchmark.question`.
"""

from __future__ import annotations

import ast
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import dataclasses

from verl_mapo.benchmarks.grouping import Answer, by_category
from verl_mapo.benchmarks.options import LETTERS, listed, shuffled, split_options, with_options
from verl_mapo.data.base import (
    BoxUnit,
    DataSet,
    Example,
    LeftOut,
    Pictures,
    RewardModel,
    Row,
    make_row,
    need,
    pixel_boxes,
    read_examples,
    target_of,
)
from verl_mapo.data.reading import count_examples, data_files
from verl_mapo.settings import STRICT, ConfigError

Reported = dict[str, float | int]
"""The numbers that a benchmark reports, by name: shares from 0 to 1 are float, and counts are int."""

IN_THE_IMAGE = "Answer the question in the image."
"""The text of a question that stands in the image alone [ours]."""

_SHORTEST_IMAGE = 64
"""Characters below which VLMEvalKit takes the column ``image`` for the index of an earlier row with the same image."""


@dataclass(frozen=True)
class Layout:
    """One form in which the files of a benchmark are published.

    Attributes:
        files: globs relative to the source, in the order of reading.
        columns: columns that every example has.
        name: tells the layouts of a benchmark apart.
    """

    files: tuple[str, ...]
    columns: tuple[str, ...]
    name: str = "official"


REPACKAGED = Layout(("*.jsonl",), ("question_id", "image", "question", "answer", "category"), "repackaged")
"""InSight-o3's form of several benchmarks: a JSONL file beside a folder of images, options as a text with labels."""


@dataclass(frozen=True)
class Question:
    """One question of a benchmark, in the terms of every benchmark.

    Attributes:
        id: unique in the benchmark; None where the files have none, for the place in them.
        text: the question without instructions about the format of the answer.
        truth: the letter of an option, or the answer itself.
        images: in any form that :meth:`verl_mapo.data.pictures.Pictures.of` takes.
        options: the texts of the options, A first; empty without options.
        in_text: whether ``text`` lists the options already; otherwise they are written below it.
        truth_first: whether the first option is the right one. The options are then shuffled, and ``truth`` is ignored.
        boxes: regions that show the answer, or None.
        box_unit, box_form: see :func:`verl_mapo.data.boxes.pixel_boxes`.
        style: the answer check; None to choose it by the truth.
        more: what the grouping rules read, such as the category.
    """

    id: str | None
    text: str
    truth: str
    images: Sequence[Any] = ()
    options: Sequence[str] = ()
    in_text: bool = False
    truth_first: bool = False
    boxes: Sequence[Sequence[float]] | None = None
    box_unit: BoxUnit = "pixels"
    box_form: Literal["xyxy", "xywh"] = "xyxy"
    style: str | None = None
    more: Mapping[str, Any] = field(default_factory=dict)


class Benchmark(DataSet):
    """A benchmark.

    Attributes:
        layouts: the forms in which it is published; the first whose files are there is read.
        questions: the official number of questions.
        licence: the licence of the data as its page states it; "not stated" where it states none.
        rule: name of its official rule in :data:`verl_mapo.benchmarks.official.RULES`.
        note: what has to be known when numbers are compared, one sentence; empty if nothing.
    """

    layouts: ClassVar[tuple[Layout, ...]]
    questions: ClassVar[int]
    licence: ClassVar[str] = "not stated"
    rule: ClassVar[str]
    note: ClassVar[str] = ""

    @dataclasses.dataclass(frozen=True, config=STRICT)
    class Options:
        """The options of every benchmark.

        Attributes:
            seed: determines the order of the options where the published files have the right one first.
        """

        seed: int = 0

    def __init__(self, options: Mapping[str, Any] | None = None):
        super().__init__(options)
        self._pictures: dict[str, Any] = {}

    @property
    def origin(self) -> str:
        """Where its files come from, in words."""
        return self.hub_id or f"verl-mapo {self.name}"

    @property
    def files(self) -> tuple[str, ...]:
        """See :class:`DataSet`; the globs of all layouts."""
        return tuple(pattern for layout in self.layouts for pattern in layout.files)

    def layout(self, source: Path) -> Layout:
        """The first layout whose files the source has.

        Raises:
            ConfigError: it has the files of none.
        """
        for layout in self.layouts:
            if any(next(source.glob(pattern), None) for pattern in layout.files):
                return layout
        wanted = "; or ".join(", ".join(layout.files) for layout in self.layouts)
        raise ConfigError(f"--source {source} has no file of {self.name}: it must hold {wanted} (from {self.origin}).")

    def count(self, source: Path) -> int | None:
        """See :class:`DataSet`."""
        return count_examples(source, self.layout(source).files)

    def examples(self, source: Path) -> Iterator[Example | LeftOut]:
        """See :class:`DataSet`.

        Raises:
            ConfigError: the source has no file of this benchmark, a column is missing, or the number of questions is
                not the official one, with the reason where a file is broken.
        """
        layout = self.layout(source)
        found = self.count(source)
        if found is not None:
            self._check_count(found, source)
        read, broken = 0, ""
        for example in self.read(source, layout):
            if read == 0 and isinstance(example, Mapping):
                self._check_columns(example, layout, source)
            read += example.examples if isinstance(example, LeftOut) else 1
            if isinstance(example, LeftOut) and example.reason == "broken_file":
                broken = broken or example.detail
            yield example
        self._check_count(read, source, broken)

    def read(self, source: Path, layout: Layout) -> Iterator[Example | LeftOut]:
        """The examples of a layout, in published columns; overridden where names of files tell more."""
        return read_examples(source, layout.files)

    @abstractmethod
    def question(self, example: Example) -> Question:
        """The question of an example in one of the layouts but :data:`REPACKAGED`.

        Raises:
            LeftOut: the example becomes no question.
        """

    def row(self, index: int, example: Example, pictures: Pictures) -> Row:
        """See :class:`DataSet`."""
        asked, name = self._question(example), self.id_of(index, example)
        shown = [self._picture(name, image, pictures) for image in asked.images]
        options, truth = list(asked.options), asked.truth
        if asked.truth_first:
            options, truth = shuffled(options, 0, f"{self.options.seed}/{self.name}/{name}")
        boxes = asked.boxes
        if boxes is not None:
            if not shown:
                raise LeftOut("missing_image", "the question has boxes and no image")
            boxes = pixel_boxes(boxes, shown[0], asked.box_unit, asked.box_form)
        text = asked.text if asked.in_text or not options else with_options(asked.text, options)
        return make_row(
            self.name,
            index,
            text,
            shown,
            _target(asked.style, truth, options, asked.text),
            id=name,
            boxes=boxes,
            more=asked.more,
        )

    def id_of(self, index: int, example: Example) -> str:
        """The question's id; the index where it has none, or where the example cannot be read as a question."""
        try:
            name = self._question(example).id
        except (LeftOut, ValueError, TypeError, LookupError, AttributeError):
            name = None
        return str(index) if name is None else name

    def summary(self, answers: Sequence[Answer]) -> Reported:
        """What the benchmark reports: ``accuracy``, and the accuracy of each category; to be overridden."""
        return by_category(answers, "category")

    def _picture(self, name: str, image: Any, pictures: Pictures) -> Any:
        """An image; a short text without a dot is the index of an earlier question with the same image."""
        if isinstance(image, str) and len(image) < _SHORTEST_IMAGE and "." not in image:
            if image not in self._pictures:
                raise LeftOut("missing_image", f"the image refers to the question {image!r}, which is not before it")
            return self._pictures[image]
        found = self._pictures[name] = pictures.of(image)
        return found

    def _question(self, example: Example) -> Question:
        again = REPACKAGED in self.layouts and set(REPACKAGED.columns) <= set(example)
        return repackaged(example) if again else self.question(example)

    def _check_columns(self, example: Mapping[str, Any], layout: Layout, source: Path) -> None:
        missing = [column for column in layout.columns if column not in example]
        if missing:
            raise ConfigError(
                f"--source {source} is not {self.name}: {data_files(source, layout.files)[0].name} has the columns "
                f"{', '.join(example)}, and the official file has {', '.join(layout.columns)}; {', '.join(missing)} "
                f"is missing. Give the files of {self.origin}."
            )

    def _check_count(self, found: int, source: Path, broken: str = "") -> None:
        if found != self.questions and broken:
            raise ConfigError(
                f"--source {source} cannot be read to its end (broken_file): {broken}. Download it again from "
                f"{self.origin}."
            )
        if found != self.questions:
            raise ConfigError(
                f"--source {source} has {found} questions, and {self.name} has {self.questions}: the files are not "
                f"complete, or are of another version. Give the files of {self.origin}, or take part of them with "
                "'verl-mapo data convert verl_mapo.benchmarks...' and a data set of your own."
            )


def _target(style: str | None, truth: str, options: Sequence[str], question: str) -> RewardModel:
    """How an answer is checked; the letter of an option is no text of one."""
    if options and len(truth) == 1 and truth in LETTERS[: len(options)]:
        style = "multiple_choice"
    if style is None:
        return target_of(truth, options, question)
    if not truth.strip():
        raise LeftOut("empty_answer", "the truth is empty")
    return {"style": style, "ground_truth": truth, "options": list(options) or None}


def repackaged(example: Example) -> Question:
    """The question of an example in InSight-o3's form of several benchmarks (:data:`REPACKAGED`)."""
    text, boxes = need(example, "question"), example.get("target_instances")
    options = listed(example["options"]) if example.get("options") else []
    return Question(
        id=str(example["question_id"]),
        text=text,
        truth=need(example, "answer"),
        images=[need(example, "image")],
        options=options,
        boxes=None if boxes is None else listed_boxes(boxes),
        more={"category": example["category"]},
    )


def listed_boxes(value: Any) -> list[list[float]]:
    """Boxes from a list, from one box, or from the Python or JSON form of either in a text."""
    boxes = ast.literal_eval(value) if isinstance(value, str) else value
    boxes = [list(box) if isinstance(box, Sequence) else box for box in boxes]
    return [boxes] if boxes and not isinstance(boxes[0], list) else boxes


def chosen(truth: Any) -> str:
    """The letter in ``(A)``, ``A.`` or ``a``, as benchmarks publish it; any other text as it is."""
    text = str(truth).strip()
    letter = text.strip("().:（） ").upper()
    return letter if len(letter) == 1 and letter in LETTERS else text


def question_and_options(text: str, options: Any) -> tuple[str, list[str], bool]:
    """A question's text, its options, and whether the text lists them: from a column, or else from the text."""
    if options is not None and len(options):
        return text, listed(options), False
    return text, split_options(text)[1], True
