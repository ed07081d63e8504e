# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The sets of PAPO's evaluation that have no other reader here: Geometry3K's test, MMK12's test and CLEVR counts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from verl_mapo.benchmarks.base import Benchmark, Layout, Question, chosen
from verl_mapo.benchmarks.options import split_options
from verl_mapo.data.base import MARK, Example, LeftOut, need, unpack
from verl_mapo.rewards.answer_text import unwrap

_SUFFIX = re.compile(r"\s*You (?:FIRST|first) think (?:about|through) the reasoning process.*\Z", re.DOTALL)


class PapoSet(Benchmark):
    """A set of ``PAPO-Galaxy/PAPO_eval`` or of its first publisher.

    PAPO's files are described with the columns ``problem``, ``answer``, ``images`` and with ``messages``, ``images``;
    both are read. Its images are in an archive beside the folder ``data``, which is unpacked once. The text about the
    format behind the question is removed.

    Attributes:
        split: name of PAPO's split.
        archive: name of PAPO's archive of images.
        first: the layout of the first publisher; empty where PAPO made the selection.
    """

    rule = "boxed"
    note = "PAPO reports Avg@8 at temperature 1 with 2,048 new tokens."
    split: ClassVar[str]
    archive: ClassVar[str]
    first: ClassVar[tuple[Layout, ...]] = ()

    @property
    def layouts(self) -> Sequence[Layout]:
        """See :class:`Benchmark`."""
        return (*self.first, Layout((f"data/{self.split}-*.parquet", f"{self.split}-*.parquet"), ("images",), "papo"))

    def read(self, source: Path, layout: Layout) -> Iterator[Example | LeftOut]:
        """See :class:`Benchmark`; images that are paths are looked for where the archive was unpacked."""
        folder = unpack(source / self.archive, source / "images" / self.split) if layout.name == "papo" else source
        for example in super().read(source, layout):
            if isinstance(example, dict):
                images = example["images"] if "images" in example else [example["image"]]
                example = example | {"images": [_found(image, source, folder) for image in images]}
            yield example

    def question(self, example: Example) -> Question:
        """See :class:`Benchmark`."""
        if "messages" in example:
            asked, truth = _dialogue(example)
        else:
            asked, truth = need(example, "problem" if "problem" in example else "question"), str(example["answer"])
        text = _SUFFIX.sub("", asked).replace(MARK, "").strip()
        truth = unwrap(truth)
        options = split_options(text)[1] if chosen(truth) != truth or re.fullmatch("[A-J]", truth) else []
        return Question(
            id=None if example.get("id") is None else str(example["id"]),
            text=text,
            truth=chosen(truth) if options else truth,
            images=example["images"],
            options=options,
            in_text=True,
            more={"category": example.get("subject")},
        )


class Geo3K(PapoSet):
    """601 problems of plane geometry with their figures (test)."""

    name = "geo3k"
    hub_id = "hiyouga/geometry3k"
    licence = "MIT"
    questions = 601
    split = "hiyouga_geometry3k"
    archive = "hiyouga_geometry3k_images.zip"
    first = (Layout(("data/test-*.parquet", "test-*.parquet"), ("images", "problem", "answer")),)


class MMK12(PapoSet):
    """2,000 questions of mathematics, physics, chemistry and biology at school, 500 each, with options (test)."""

    name = "mmk12"
    hub_id = "FanqingM/MMK12"
    licence = "Apache-2.0"
    questions = 2000
    note = "The test set is also the validation set on which several published checkpoints were chosen."
    split = "PAPO_MMK12"
    archive = "PAPO_MMK12_test_images.zip"
    first = (Layout(("data/test-*.parquet", "test-*.parquet"), ("id", "image", "question", "answer", "subject")),)


class ClevrCount(PapoSet):
    """200 questions how many objects are left in a rendered scene."""

    name = "clevr_count"
    hub_id = "PAPO-Galaxy/PAPO_eval"
    questions = 200
    split = "BUAADreamer_clevr_count_70k"
    archive = "BUAADreamer_clevr_count_70k_images.zip"


def _dialogue(example: Example) -> tuple[str, str]:
    """Question and answer of two messages, with the keys of OpenAI's form or of ShareGPT's."""
    said = [message.get("content", message.get("value")) for message in need(example, "messages", list)]
    if len(said) < 2:
        raise LeftOut("missing_column", "the messages have no answer")
    return said[-2], said[-1]


def _found(image: object, source: Path, folder: Path) -> object:
    """The path of an image that PAPO names as ``./data/images/SET/FILE``; anything else as it is."""
    if not isinstance(image, str):
        return image
    parts = Path(image).parts
    places = [source / image, *(folder.joinpath(*parts[start:]) for start in range(len(parts)))]
    return str(next((place for place in places if place.exists()), source / image))
