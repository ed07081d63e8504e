# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""V*: 191 questions about small objects in photographs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from verl_mapo.benchmarks.base import REPACKAGED, Benchmark, Layout, LeftOut, Question, chosen
from verl_mapo.benchmarks.options import in_columns, split_options
from verl_mapo.data.base import Example, need

_FOLDERS = ("direct_attributes", "relative_position")


class VStar(Benchmark):
    """191 questions about small objects in photographs of about 2,200 x 1,600 pixels: 115 attributes, 76 positions.

    The file ``test_questions.jsonl`` of the authors has the options shuffled (A 71, B 70, C 27, D 23). The annotations
    beside the images have the right option first, so that they are shuffled here; they also have the boxes of the
    objects, which are taken where the images are files.
    """

    name = "vstar"
    hub_id = "craigwu/vstar_bench"
    questions = 191
    rule = "vstar"
    note = "lmms-eval's rule reads 'Answer: C' as A, so its numbers are too low for models that answer so."
    layouts = (
        Layout(("test_questions.jsonl",), ("image", "text", "category", "label", "question_id"), "questions"),
        Layout(tuple(f"{folder}/*.json" for folder in _FOLDERS), ("question", "options", "bbox"), "annotations"),
        Layout(
            ("test-*.parquet", "data/test-*.parquet"), ("image", "text", "label", "question_id", "category"), "parquet"
        ),
        Layout(("VStarBench.tsv",), ("index", "image", "question", "A", "B", "answer", "category"), "tsv"),
        REPACKAGED,
    )

    def count(self, source: Path) -> int | None:
        """See :class:`DataSet`."""
        layout = self.layout(source)
        if layout.name == "annotations":
            return sum(len(list(source.glob(pattern))) for pattern in layout.files)
        return super().count(source)

    def read(self, source: Path, layout: Layout) -> Iterator[Example | LeftOut]:
        """See :class:`Benchmark`; the boxes of the annotation beside an image are added."""
        if layout.name == "annotations":
            for file in (file for pattern in layout.files for file in sorted(source.glob(pattern))):
                yield _annotation(file) | {"image": _image_beside(file, source), "category": file.parent.name}
            return
        for example in super().read(source, layout):
            beside = isinstance(example, dict) and isinstance(example.get("image"), str) and len(example["image"]) < 200
            note = source / Path(example["image"]).with_suffix(".json") if beside else None
            found = _annotation(note) if note is not None and note.exists() else {}
            yield (
                example | {name: found[name] for name in ("bbox", "target_object") if name in found}
                if found
                else example
            )

    def question(self, example: Example) -> Question:
        """See :class:`Benchmark`."""
        more = {"category": need(example, "category"), "targets": example.get("target_object")}
        boxes = {"boxes": example.get("bbox"), "box_form": "xywh"}
        if "text" in example:
            text = need(example, "text").removesuffix(
                "Answer with the option's letter from the given choices directly."
            )
            question, options = split_options(text)
            return Question(
                str(example["question_id"]), question, chosen(example["label"]), [example["image"]], options,
                **boxes, more=more,
            )  # fmt: skip
        options = need(example, "options", list) if "options" in example else in_columns(example)
        listed_first = "answer" not in example
        return Question(
            id=str(example["image"] if listed_first else example["index"]),
            text=need(example, "question"),
            truth="A" if listed_first else chosen(example["answer"]),
            images=[example["image"]],
            options=options,
            truth_first=listed_first,
            **boxes,
            more=more,
        )


def _annotation(file: Path) -> Example:
    return json.loads(file.read_text(encoding="utf-8"))


def _image_beside(file: Path, source: Path) -> str:
    """The image of an annotation, relative to the source."""
    beside = (file.with_suffix(ending) for ending in (".jpg", ".jpeg", ".png"))
    found = next((image for image in beside if image.exists()), file.with_suffix(".jpg"))
    return str(found.relative_to(source))
