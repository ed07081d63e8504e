# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""MMK12: questions of school mathematics, physics, chemistry and biology about a figure."""

from __future__ import annotations

from typing import Literal

from pydantic import dataclasses

from verl_mapo.data.published import Columns, PublishedSet
from verl_mapo.settings import STRICT

_FILES = {
    "train": ("data/train-*.parquet", "train*.parquet"),
    "test": ("data/test-*.parquet", "data/val*.parquet", "test*.parquet", "val*.parquet"),
}


class MMK12(PublishedSet):
    """15,616 questions of school science with a figure; the test part has 2,000 multiple choices.

    The columns are ``question``, ``answer``, ``image``, ``subject`` and ``id``; the copies of the test part,
    ``PAPOGalaxy/PAPO_MMK12_test`` and ``chamber111/VPPO_MMK12_validation``, call the first three ``problem``,
    ``answer`` and ``images``. Options stand in the question as ``A. ...``. There is no tool text. Each part is read
    from the files of its name: ``--option split=test``.
    """

    @dataclasses.dataclass(frozen=True, config=STRICT)
    class Options:
        """The options of this set.

        Attributes:
            split: the part that is converted. Papers report results on ``test``: a run that trains on it cannot.
        """

        split: Literal["train", "test"] = "train"

    name = "MMK12"
    hub_id = "FanqingM/MMK12"
    instructions = (r"\s*You first think about the reasoning process as an internal monologue",)
    columns = Columns(("problem", "question"), ("answer",), ("images", "image"), id=("id",), more=("subject",))

    @property
    def files(self) -> tuple[str, ...]:
        """See :class:`DataSet`."""
        return _FILES[self.options.split]
