# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""ViRL39K: 38,870 questions about images with verifiable answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import dataclasses

from verl_mapo.data.base import DataSet, Example, LeftOut, Pictures, Row, make_row, need, target_of, unpack
from verl_mapo.settings import STRICT

INSTRUCTION = "\nThink step by step, and put the answer in \\boxed{}."
"""Appended to every question with ``single_turn`` [ours]."""


class ViRL39K(DataSet):
    """38,870 questions about images with verifiable answers (mathematics, science, charts, documents, spatial).

    The published columns are ``question``, with one ``<image>`` for each image; ``image``, a list of paths in
    ``images.zip``; ``answer``, mostly inside ``\\boxed{}``; ``qid``, ``category``, ``source``, and two pass rates, of
    which ``PassRate_7BBase`` gives the difficulty.
    """

    name = "ViRL39K"
    hub_id = "TIGER-Lab/ViRL39K"

    @dataclasses.dataclass(frozen=True, config=STRICT)
    class Options:
        """The options of this set.

        Attributes:
            single_turn: append :data:`INSTRUCTION`, and compare all answers by ``math``: verl's single-turn loop adds
                no instruction, and :func:`verl_mapo.rewards.compute_score.compute_score` has one check for all rows.
        """

        single_turn: bool = False

    def examples(self, source: Path) -> Iterator[Example | LeftOut]:
        """See :class:`DataSet`; ``images.zip`` is unpacked next to itself unless the folder ``images`` exists."""
        unpack(source / "images.zip", source / "images")
        return super().examples(source)

    def row(self, index: int, example: Example, pictures: Pictures) -> Row:
        """See :class:`DataSet`."""
        images = [pictures.at(path) for path in need(example, "image", list)]
        question, rate = need(example, "question"), example.get("PassRate_7BBase")
        target = target_of(example["answer"], question=question)
        if self.options.single_turn:
            question += INSTRUCTION
            target = {"style": "math", "ground_truth": example["answer"], "options": None}
        return make_row(
            self.name,
            index,
            question,
            images,
            target,
            id=example["qid"],
            difficulty=None if rate is None else 1 - rate,
            more={"category": example["category"], "source": example.get("source")},
        )
