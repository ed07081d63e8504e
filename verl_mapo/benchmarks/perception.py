# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""General perception with options: BLINK, CV-Bench, MMStar and RealWorldQA."""

from __future__ import annotations

import re
from collections.abc import Sequence

from verl_mapo.benchmarks import grouping
from verl_mapo.benchmarks.base import Benchmark, Layout, Question, Reported, chosen
from verl_mapo.benchmarks.options import split_options
from verl_mapo.data.base import MARK, Example, need

_FORMAT = re.compile(r"\s*Please answer directly with (?:only the letter|a single word or number).*\Z", re.DOTALL)


class Blink(Benchmark):
    """1,901 questions of 14 kinds about one to four images, such as relative depth, jigsaw and counting."""

    name = "blink"
    hub_id = "BLINK-Benchmark/BLINK"
    licence = "Apache-2.0"
    questions = 1901
    rule = "leading_letter"
    note = "Only the split val has answers."
    layouts = (Layout(("*/val-*.parquet",), ("idx", "image_1", "question", "choices", "answer", "prompt", "sub_task")),)

    def question(self, example: Example) -> Question:
        """See :class:`Benchmark`."""
        images = [example.get(f"image_{number}") for number in range(1, 5)]
        return Question(
            id=str(example["idx"]),
            text=need(example, "question").replace(MARK, ""),
            truth=chosen(example["answer"]),
            images=[image for image in images if image is not None],
            options=need(example, "choices", list),
            more={"category": example["sub_task"]},
        )


class CVBench(Benchmark):
    """2,638 questions about counts and relations in 2D (1,438) and depth and distance in 3D (1,200)."""

    name = "cv_bench"
    hub_id = "nyu-visionx/CV-Bench"
    licence = "Apache-2.0"
    questions = 2638
    rule = "leading_letter"
    note = "The paper's number is the mean of 2D and 3D, and 2D the mean of its two sources, not the mean of questions."
    layouts = (
        Layout(
            ("test_2d.parquet", "test_3d.parquet"),
            ("idx", "type", "task", "image", "question", "choices", "answer", "source"),
        ),
    )

    def question(self, example: Example) -> Question:
        """See :class:`Benchmark`."""
        return Question(
            id=f"{example['type']}-{example['idx']}",
            text=need(example, "question"),
            truth=chosen(example["answer"]),
            images=[example["image"]],
            options=need(example, "choices", list),
            more={name: example[name] for name in ("type", "task", "source")},
        )

    def summary(self, answers: Sequence[grouping.Answer]) -> Reported:
        """See :class:`Benchmark`."""
        return grouping.sources(answers)


class MMStar(Benchmark):
    """1,500 questions that need the image, 250 for each of six abilities."""

    name = "mmstar"
    hub_id = "Lin-Chen/MMStar"
    questions = 1500
    rule = "mmstar"
    note = "The official rule looks at the first characters of a reply alone, so a reply that reasons first is wrong."
    layouts = (
        Layout(
            ("mmstar.parquet", "data/val-*.parquet"),
            ("index", "question", "image", "answer", "category", "l2_category"),
        ),
    )

    def question(self, example: Example) -> Question:
        """See :class:`Benchmark`; the question lists its options as ``Options: A: red, B: blue``."""
        text = need(example, "question").replace("<image 1>", "").strip()
        stem, options = split_options(text)
        return Question(
            id=str(example["index"]),
            text=re.sub(r"\s*Options:\s*\Z", "", stem) if options else text,
            truth=chosen(example["answer"]),
            images=[example["image"]],
            options=options,
            more={name: example[name] for name in ("category", "l2_category")},
        )

    def summary(self, answers: Sequence[grouping.Answer]) -> Reported:
        """See :class:`Benchmark`; ``mean_l2`` is lmms-eval's average over the abilities of the second level."""
        shares = grouping.by_category(answers, "category", "l2_category")
        return shares | {"mean_l2": grouping.mean_of_groups(answers, "l2_category")}


class RealWorldQA(Benchmark):
    """765 questions about photographs from vehicles and streets, with options or with a word or a number."""

    name = "realworldqa"
    hub_id = "xai-org/RealworldQA"
    licence = "CC BY-ND 4.0"
    questions = 765
    rule = "realworldqa"
    note = "The official rule compares the whole reply with the truth."
    layouts = (Layout(("data/test-*.parquet", "test-*.parquet"), ("image", "question", "answer")),)

    def question(self, example: Example) -> Question:
        """See :class:`Benchmark`."""
        text = _FORMAT.sub("", need(example, "question"))
        options = split_options(text)[1]
        return Question(
            id=None,
            text=text,
            truth=chosen(example["answer"]) if options else str(example["answer"]),
            images=[example["image"]],
            options=options,
            in_text=True,
            more={"category": "options" if options else "free"},
        )
