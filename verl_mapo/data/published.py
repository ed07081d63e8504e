# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Sets whose examples hold a question, images and an answer in columns: what differs between them is declared.

A column is given by the names that it has in the published versions of a set, of which the first that an example holds
is read. A dot leads into a column: ``extra_info.question``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from verl_mapo.data.base import (
    MARK,
    DataSet,
    Example,
    LeftOut,
    Picture,
    Pictures,
    RewardModel,
    Row,
    make_row,
    target_of,
    unpack,
)
from verl_mapo.rewards.answers import truths_of

Names = tuple[str, ...]
"""The names of one column in the versions of a set."""

_SENTENCE_END = re.compile(r"(?<=[.!?。])\s+|\n+")


@dataclass(frozen=True)
class Columns:
    """Where a set holds what every row needs.

    Attributes:
        question: a text, or messages of which the last one of the user is the question.
        truth: the published answer, or a list of accepted ones.
        images: one image or a list of images, see :meth:`verl_mapo.data.pictures.Pictures.of`.
        id: the example's name; empty where the set has none.
        more: further columns that are kept in ``extra_info.more``, under the last part of their name.
    """

    question: Names
    truth: Names
    images: Names
    id: Names = ()
    more: Names = ()


class PublishedSet(DataSet):
    """A set with a question, images and an answer in columns.

    Attributes:
        columns: the names of these columns.
        instructions: regular expressions for the beginnings of the set's own instructions, such as a format of the
            answer; the question ends before the first of them.
        leading: a regular expression for what stands before the question, such as ``Question:``; empty for nothing.
        archives: zip files with images, unpacked once next to themselves, into the folder of their name.
    """

    columns: ClassVar[Columns]
    instructions: ClassVar[Names] = ()
    leading: ClassVar[str] = ""
    archives: ClassVar[Names] = ()

    def examples(self, source: Path) -> Iterator[Example | LeftOut]:
        """See :class:`DataSet`."""
        for archive in self.archives:
            unpack(source / archive, source / Path(archive).stem)
        return super().examples(source)

    def id_of(self, index: int, example: Example) -> str:
        """See :class:`DataSet`."""
        found = first_of(example, self.columns.id, None) if self.columns.id else None
        return str(index if found is None else found)

    def row(self, index: int, example: Example, pictures: Pictures) -> Row:
        """See :class:`DataSet`."""
        images = self.pictures_of(example, pictures)
        question = self.question_of(example)
        truth, *aliases = self.truths_of(example)
        kept = {name: first_of(example, (name,), None) for name in self.columns.more}
        more = {name.rpartition(".")[2]: value for name, value in kept.items() if value is not None}
        return make_row(
            self.name,
            index,
            question,
            images,
            self.target(truth, question, images),
            id=self.id_of(index, example),
            boxes=self.boxes_of(example, images),
            more=more | ({"accepted_answers": [truth, *aliases]} if aliases else {}),
        )

    def pictures_of(self, example: Example, pictures: Pictures) -> list[Picture]:
        """The images of an example."""
        found = first_of(example, self.columns.images)
        listed = found if isinstance(found, list | tuple) else [found]
        return [pictures.of(image) for image in listed]

    def question_of(self, example: Example) -> str:
        """The question without the set's own instructions."""
        return self.stripped(question_in(first_of(example, self.columns.question)))

    def truths_of(self, example: Example) -> list[str]:
        """The accepted answers, the first of which is the row's truth."""
        try:
            return truths_of(first_of(example, self.columns.truth))
        except ValueError as error:
            raise LeftOut("empty_answer", str(error)) from None

    def boxes_of(self, example: Example, images: Sequence[Picture]) -> list[list[float]] | None:
        """The regions that show the answer, in pixels of the first image; None for a set without them."""
        return None

    def target(self, truth: str, question: str, images: Sequence[Picture]) -> RewardModel:
        """How the answers are checked."""
        return target_of(truth, question=question)

    def stripped(self, text: str) -> str:
        """A text without the set's own instructions."""
        starts = [found.start() for start in self.instructions if (found := re.search(start, text))]
        text = text[: min(starts, default=len(text))].rstrip()
        return without_leading(text, self.leading) if self.leading else text


def without_leading(text: str, pattern: str) -> str:
    """A question without what matches a regular expression at its beginning, behind its ``<image>``."""
    return re.sub(rf"\A((?:{MARK}\s*)*)(?:{pattern})+", r"\1", text)


_MISSING = object()


def first_of(example: Mapping[str, Any], names: Names, default: Any = _MISSING) -> Any:
    """The value of the first of several columns that an example holds.

    Args:
        example: an example in published columns.
        names: names of columns; a dot leads into a mapping.
        default: what is returned where the example holds none of them.

    Raises:
        LeftOut: ``missing_column``, it holds none and there is no default; the detail tells what was expected and what
            was found.
    """
    for name in names:
        value: Any = example
        for part in name.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if value is not None:
            return value
    if default is not _MISSING:
        return default
    raise LeftOut("missing_column", f"expected the column {' or '.join(names)}; found {', '.join(example) or 'none'}")


def question_in(value: Any) -> str:
    """The text of a question: the text itself, or that of the last user message of a list of messages.

    The messages of other roles hold the set's own system prompt, with its tools and its format of the answer.

    Raises:
        LeftOut: ``malformed``, there is no user message.
    """
    if isinstance(value, str):
        return value
    messages = [one for one in value if isinstance(one, Mapping) and one.get("role", one.get("from")) in _USER]
    if not messages:
        raise LeftOut("malformed", f"the question is no text and has no message of the user: {value!r:.100}")
    return text_in(messages[-1].get("content", messages[-1].get("value", "")))


_USER = ("user", "human")


def text_in(content: Any) -> str:
    """The text of a message, whose parts may be a list; an image part becomes ``<image>``."""
    if isinstance(content, str):
        return content
    parts = [part if isinstance(part, Mapping) else {"text": part} for part in content]
    return "".join(MARK if part.get("image") is not None else str(part.get("text") or "") for part in parts)


def without_last_sentences(text: str, pattern: str) -> str:
    """A text without the sentences at its end that match a pattern; questions, and the first sentence, are kept."""
    while True:
        ends = list(_SENTENCE_END.finditer(text.rstrip()))
        last = text[ends[-1].end() :] if ends else ""
        if not last.strip() or last.rstrip().endswith("?") or not re.search(pattern, last):
            return text.rstrip()
        text = text[: ends[-1].start()]
