# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""MMMU and MMMU-Pro: questions of university courses with one to seven images."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import dataclasses

from verl_mapo.benchmarks import grouping
from verl_mapo.benchmarks.base import IN_THE_IMAGE, Benchmark, Layout, Question, Reported, chosen
from verl_mapo.benchmarks.options import listed, with_options
from verl_mapo.data.base import MARK, Example, need
from verl_mapo.settings import STRICT

_MARK = re.compile(r"<image (\d)>")


class MMMUVal(Benchmark):
    """900 questions (validation), 30 for each of 30 subjects of university courses, most of them with options."""

    name = "mmmu_val"
    hub_id = "MMMU/MMMU"
    licence = "Apache-2.0"
    questions = 900
    rule = "mmmu"
    note = "The official rule draws a letter at random where it finds none; here such a reply is wrong."
    layouts = (
        Layout(
            ("*/validation-*.parquet", "validation-*.parquet"),
            ("id", "question", "options", "image_1", "answer", "question_type", "subfield", "topic_difficulty"),
        ),
    )

    def question(self, example: Example) -> Question:
        """See :class:`Benchmark`."""
        subject = str(example["id"]).removeprefix("validation_").rpartition("_")[0]
        more = {
            "category": subject,
            "question_type": example["question_type"],
            "difficulty": example["topic_difficulty"],
        }
        if example["question_type"] == "multiple-choice":
            return _numbered(example, chosen(example["answer"]), more)
        truths = _accepted(example["answer"])
        return _numbered(example | {"options": "[]"}, truths[0], more | {"answers": truths})

    def summary(self, answers: Sequence[grouping.Answer]) -> Reported:
        """See :class:`Benchmark`."""
        return grouping.by_category(answers, "category", "question_type")


class MMMUPro(Benchmark):
    """1,730 questions (test) of MMMU that need the image, with up to ten options, or asked in a screenshot."""

    name = "mmmu_pro"
    hub_id = "MMMU/MMMU_Pro"
    licence = "Apache-2.0"
    questions = 1730
    rule = "mmmu"
    note = "The published overall number is the mean of the settings standard (10 options) and vision."

    @dataclasses.dataclass(frozen=True, config=STRICT)
    class Options(Benchmark.Options):
        """The options of this benchmark.

        Attributes:
            setting: ten options, the four of MMMU, or question and options in the image.
        """

        setting: Literal["standard", "four_options", "vision"] = "standard"

    @property
    def layouts(self) -> tuple[Layout, ...]:
        """See :class:`Benchmark`; each setting has a folder of its own."""
        folder = {"standard": "standard (10 options)", "four_options": "standard (4 options)", "vision": "vision"}
        images = "image" if self.options.setting == "vision" else "image_1"
        pattern = f"{folder[self.options.setting]}/test-*.parquet"
        return (Layout((pattern,), ("id", "options", images, "answer", "subject"), self.options.setting),)

    def question(self, example: Example) -> Question:
        """See :class:`Benchmark`."""
        truth, more = chosen(example["answer"]), {"category": example["subject"], "setting": self.options.setting}
        if self.options.setting != "vision":
            return _numbered(example, truth, more)
        options = listed(example["options"])
        images = [need(example, "image", dict)]
        return Question(str(example["id"]), IN_THE_IMAGE, truth, images, options, in_text=True, more=more)


def _accepted(value: Any) -> list[str]:
    """The accepted answers, one or a Python list in a text."""
    text = str(value).strip()
    if text.startswith("["):
        return [str(one) for one in ast.literal_eval(text)]
    return [text]


def _numbered(example: Example, truth: str, more: Mapping[str, Any]) -> Question:
    """A question whose text and options name their images as ``<image 1>``.

    Each is put where it is named first; what is named again is called by its number. Images that are not named are
    left out, as in the official evaluation.
    """
    options = listed(example["options"])
    text = with_options(need(example, "question").replace(MARK, ""), options)
    order: list[str] = []

    def place(found: re.Match[str]) -> str:
        if found[1] in order:
            return f"image {found[1]}"
        order.append(found[1])
        return MARK

    text = _MARK.sub(place, text)
    images = [example[f"image_{number}"] for number in order]
    if not order:
        images = [example["image_1"]]
    return Question(str(example["id"]), text, truth, images, options, in_text=True, more=more)
