# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""CodeVision-RL: 34,795 questions that need operations on the image, some with the box of the answer."""

from __future__ import annotations

from collections.abc import Sequence

from verl_mapo.data.base import Example, Picture, pixel_boxes
from verl_mapo.data.insight_o3 import boxes_in
from verl_mapo.data.published import Columns, PublishedSet, first_of

_BOXES = ("extra_info.gt_bbox", "gt_bbox", "reward_model.gt_bbox")


class CodeVision(PublishedSet):
    """34,795 questions about images that may be turned or mirrored, some with the box of the answer.

    ``train_group_1.parquet`` to ``_4`` have verl's columns: ``prompt``; ``images`` as bytes; ``reward_model`` with
    ``ground_truth``, a list of accepted answers; ``extra_info`` with ``question``, ``index``, ``split`` and
    ``transform``; and ``required_transforms`` and ``gt_bbox``. In which of these the last two are is not documented, so
    the top, ``extra_info`` and ``reward_model`` are searched. That ``gt_bbox`` counts pixels of the image as stored is
    inferred, and its frame is not known where the image was turned: such rows have no boxes, and
    ``extra_info.more`` keeps ``gt_bbox``, ``transform`` and ``required_transforms`` as published. The prompt declares
    ``code_image_tool`` in its system message, so the question is taken from ``extra_info.question``.
    """

    name = "CodeVision-RL"
    hub_id = "kkwok/CodeVision-RL"
    files = ("train_group_*.parquet", "data/*.parquet")
    columns = Columns(
        ("extra_info.question", "prompt"),
        ("reward_model.ground_truth",),
        ("images",),
        more=(
            *("extra_info.transform", "required_transforms", "extra_info.required_transforms"),
            *("reward_model.required_transforms", *_BOXES, "extra_info.index", "data_source"),
        ),
    )

    def boxes_of(self, example: Example, images: Sequence[Picture]) -> list[list[float]] | None:
        """See :class:`PublishedSet`."""
        boxes = first_of(example, _BOXES, None)
        if not boxes or first_of(example, ("extra_info.transform",), None):
            return None
        return pixel_boxes(boxes_in(boxes), images[0], "pixels")
