# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Geometry3K: 3,002 problems about figures, 2,101 of them for training."""

from __future__ import annotations

from typing import Literal

from pydantic import dataclasses

from verl_mapo.data.base import DataSet, Example, Pictures, Row, make_row, need, target_of
from verl_mapo.settings import STRICT


class Geometry3K(DataSet):
    """3,002 problems of plane geometry, each with its figure; 2,101 for training, 300 and 601 to validate and test.

    The published columns are ``images`` (bytes), ``problem`` with ``<image>``, ``answer``, and in the newer version
    also ``id``, ``choices`` and ``ground_truth``, the letter among the choices. The answer is asked for itself, because
    the problems do not list the choices.
    """

    name = "geometry3k"
    hub_id = "hiyouga/geometry3k"

    @dataclasses.dataclass(frozen=True, config=STRICT)
    class Options:
        """The options of this set.

        Attributes:
            split: the part that is converted.
        """

        split: Literal["train", "validation", "test"] = "train"

    @property
    def files(self) -> tuple[str, ...]:
        """See :class:`DataSet`."""
        return (f"data/{self.options.split}-*.parquet", f"{self.options.split}-*.parquet")

    def row(self, index: int, example: Example, pictures: Pictures) -> Row:
        """See :class:`DataSet`."""
        return make_row(
            self.name,
            index,
            need(example, "problem"),
            [pictures.of(image) for image in need(example, "images", list)],
            target_of(need(example, "answer")),
            id=self.id_of(index, example),
            more={"split": self.options.split, "choices": example.get("choices")},
        )
