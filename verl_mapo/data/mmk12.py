# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""MMK12: questions of school mathematics, physics, chemistry and biology about a figure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic.dataclasses import dataclass

from verl_mapo.data.published import Columns, PublishedSet
from verl_mapo.settings import STRICT

_FILES = {
    "train": ("data/train-*.parquet", "train*.parquet"),
    "test": ("data/test-*.parquet", "data/val*.parquet", "test*.parquet", "val*.parquet"),
}


@dataclass(frozen=True, config=STRICT)
class MMK12Options:
    """Options of :class:`MMK12`.

    Attributes:
        split: the part that is read. Papers report results on ``test``, so a run that trains on it cannot.
    """

    split: Literal["train", "test"] = "train"


class MMK12(PublishedSet):
    """15,616 questions of school science with a figure; the test part has 2,000 multiple choices.

    The columns are ``question``, ``answer``, ``image``, ``subject`` and ``id``; the copies ``PAPOGalaxy/PAPO_MMK12_test``
    and ``chamber111/VPPO_MMK12_validation`` of the test part call the first three ``problem``, ``answer`` and ``images``.
    Options stand in the question as ``A. ...``. There is no tool text. Each part is read from the files of its name:
    ``--option split=test``.
    """

    name = "MMK12"
    hub_id = "FanqingM/MMK12"
    Options = MMK12Options
    instructions = (r"\s*You first think about the reasoning process as an internal monologue",)
    columns = Columns(("problem", "question"), ("answer",), ("images", "image"), id=("id",), more=("subject",))

    def __init__(self, options: Mapping[str, Any] | None = None):
        super().__init__(options)
        self.files = _FILES[self.options.split]
