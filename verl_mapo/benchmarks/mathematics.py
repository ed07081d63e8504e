# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Mathematics with figures: MathVista, MathVerse, MathVision, We-Math, LogicVista and DynaMath."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from verl_mapo.benchmarks import grouping
from verl_mapo.benchmarks.base import IN_THE_IMAGE, Benchmark, Layout, Question, Reported, chosen
from verl_mapo.benchmarks.options import LETTERS, listed, split_options
from verl_mapo.data.base import MARK, Example, LeftOut, need, read_examples

_IMAGE_MARK = re.compile(r"<image\s?\d*>")


class MathVista(Benchmark):
    """1,000 problems (testmini) about figures, charts and photographs: 540 with options, 460 with a number."""

    name = "mathvista"
    hub_id = "AI4Math/MathVista"
    licence = "CC BY-SA 4.0"
    questions = 1000
    rule = "mathvista"
    note = "Officially a language model extracts the answer; replies that no rule reads are counted as unjudged."
    layouts = (
        Layout(
            ("data/testmini-*.parquet", "testmini-*.parquet"),
            ("pid", "question", "decoded_image", "choices", "unit", "precision", "answer", "question_type",
             "answer_type", "metadata"),
        ),
    )  # fmt: skip

    def question(self, example: Example) -> Question:
        """See :class:`Benchmark`; the unit is part of the question, as in the official ``query``."""
        text, options, truth = need(example, "question"), list(example["choices"] or ()), str(example["answer"])
        if options:
            if truth not in options:
                raise LeftOut("impossible_answer", f"the truth {truth[:60]!r} is none of the options")
            truth = LETTERS[options.index(truth)]
        metadata = example["metadata"] or {}
        return Question(
            id=str(example["pid"]),
            text=f"{text} (Unit: {example['unit']})" if example["unit"] else text,
            truth=truth,
            images=[example["decoded_image"]],
            options=options,
            more={
                **{name: example[name] for name in ("question_type", "answer_type", "precision")},
                "task": metadata.get("task"),
                "category": metadata.get("category"),
            },
        )

    def summary(self, answers: Sequence[grouping.Answer]) -> Reported:
        """See :class:`Benchmark`."""
        return grouping.by_category(answers, "task", "category")


class MathVerse(Benchmark):
    """3,940 problems (testmini): 788, each in five versions that move the information from the text into the figure.

    In the version Vision Only the text stands in the image alone.
    """

    name = "mathverse"
    hub_id = "AI4Math/MathVerse"
    licence = "MIT"
    questions = 3940
    rule = "judge"
    note = "Papers report all 3,940, the 2,180 with options (PAPO), or the 1,308 of these that depend on the image."
    layouts = (
        Layout(
            ("testmini.parquet", "data/testmini-*.parquet", "testmini-*.parquet"),
            ("sample_index", "problem_index", "problem_version", "question", "image", "answer", "question_type"),
        ),
    )

    def question(self, example: Example) -> Question:
        """See :class:`Benchmark`."""
        text, options = str(example["question"] or "").strip(), []
        if example["question_type"] == "multi-choice":
            options = split_options(text)[1]
        return Question(
            id=str(example["sample_index"]),
            text=text or IN_THE_IMAGE,
            truth=chosen(example["answer"]),
            images=[example["image"]],
            options=options,
            in_text=True,
            style="multiple_choice" if example["question_type"] == "multi-choice" else None,
            more={
                "problem": example["problem_index"],
                "category": example["problem_version"],
                "question_type": example["question_type"],
            },
        )


class MathVision(Benchmark):
    """3,040 problems (test) of mathematical competitions: 1,532 with options, 1,508 without."""

    name = "mathvision"
    hub_id = "MathLLMs/MathVision"
    licence = "MIT"
    questions = 3040
    rule = "mathvision"
    note = "VPPO reports 2,907 of the 3,040."
    layouts = (
        Layout(
            ("data/test-*.parquet", "test-*.parquet"),
            ("id", "question", "options", "decoded_image", "answer", "level", "subject"),
        ),
    )

    def question(self, example: Example) -> Question:
        """See :class:`Benchmark`; all figures of a problem are in one image, and their marks are removed."""
        options = list(example["options"] or ())
        return Question(
            id=str(example["id"]),
            text=_IMAGE_MARK.sub("", need(example, "question")).strip() or IN_THE_IMAGE,
            truth=chosen(example["answer"]) if options else str(example["answer"]),
            images=[example["decoded_image"]],
            options=[_IMAGE_MARK.sub("", option).strip() for option in options],
            more={"category": example["subject"], "level": example["level"]},
        )

    def summary(self, answers: Sequence[grouping.Answer]) -> Reported:
        """See :class:`Benchmark`."""
        return grouping.by_category(answers, "category", "level")


class WeMath(Benchmark):
    """1,740 questions (testmini): 525 problems of two or three steps, each with the question of every step."""

    name = "we_math"
    hub_id = "We-Math/We-Math"
    licence = "CC BY-NC 4.0"
    questions = 1740
    rule = "we_math"
    note = "The published score is the strict one over 525 problems; PAPO reports the accuracy of the 1,740 questions."
    layouts = (
        Layout(
            ("data/testmini-*.parquet", "testmini-*.parquet"),
            ("ID", "knowledge concept", "question", "option", "answer", "image_path", "key"),
        ),
    )

    def question(self, example: Example) -> Question:
        """See :class:`Benchmark`."""
        return Question(
            id=f"{example['ID']}-{example['key']}",
            text=need(example, "question"),
            truth=chosen(example["answer"]),
            images=[example["image_path"]],
            options=listed(example["option"]),
            more={"problem": example["ID"], "step": example["key"], "category": example["knowledge concept"]},
        )

    def summary(self, answers: Sequence[grouping.Answer]) -> Reported:
        """See :class:`Benchmark`."""
        return grouping.steps(answers)


class LogicVista(Benchmark):
    """448 puzzles and diagrams that ask for logic; the options stand in the question or in the image."""

    name = "logicvista"
    hub_id = "lscpku/LogicVista"
    licence = "Apache-2.0"
    questions = 448
    rule = "boxed"
    note = "PAPO's copy has 447 questions. Some truths are several letters, and all of them are needed."
    layouts = (
        Layout(("data/test-*.parquet", "test-*.parquet", "*.parquet"), ("question", "answer", "image", "skill")),
    )

    def question(self, example: Example) -> Question:
        """See :class:`Benchmark`."""
        return Question(
            id=None if example.get("id") is None else str(example["id"]),
            text=need(example, "question").replace(MARK, ""),
            truth=str(example["answer"]).strip(),
            images=[example["image"]],
            in_text=True,
            style="multiple_choice",
            more={"category": str(example["skill"])},
        )


class DynaMath(Benchmark):
    """5,010 questions: 501 problems, each in ten variants with other numbers, functions or figures."""

    name = "dynamath"
    hub_id = "DynaMath/DynaMath_Sample"
    licence = "Apache-2.0"
    questions = 5010
    rule = "boxed"
    note = "VPPO reports 3,666 of the 5,010. The paper's worst case counts a problem if all ten variants are right."
    layouts = (
        Layout(
            ("data/sample_variant*.parquet", "sample_variant*.parquet"),
            ("id", "question", "decoded_image", "ground_truth", "answer_type", "subject", "knowledge_level"),
        ),
    )

    def read(self, source: Path, layout: Layout) -> Iterator[Example | LeftOut]:
        """See :class:`Benchmark`; the variant is told by the name of the file alone."""
        for file in (file for pattern in layout.files for file in sorted(source.glob(pattern))):
            variant = int(re.search(r"variant(\d+)", file.name)[1])
            for example in read_examples(file.parent, (file.name,)):
                yield example | {"variant": variant} if isinstance(example, dict) else example

    def question(self, example: Example) -> Question:
        """See :class:`Benchmark`."""
        kind, truth = need(example, "answer_type"), str(example["ground_truth"]).strip()
        return Question(
            id=f"{example['id']}-{example['variant']}",
            text=need(example, "question"),
            truth=chosen(truth) if kind == "multiple choice" else truth,
            images=[example["decoded_image"]],
            options=split_options(need(example, "question"))[1] if kind == "multiple choice" else [],
            in_text=True,
            style={"multiple choice": "multiple_choice", "float": "numeric"}.get(kind),
            more={
                "problem": example["id"],
                "variant": example["variant"],
                "answer_type": kind,
                "category": example["subject"],
                "level": example["knowledge_level"],
            },
        )

    def summary(self, answers: Sequence[grouping.Answer]) -> Reported:
        """See :class:`Benchmark`."""
        return grouping.variants(answers)
