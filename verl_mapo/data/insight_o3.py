# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The two sets of InSight-o3, whose rows have the box that a question is about."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, ClassVar

from verl_mapo.data.base import Example, LeftOut, Picture, RewardModel, pixel_boxes
from verl_mapo.data.published import Columns, Names, PublishedSet, first_of
from verl_mapo.rewards.box_answers import SIDE, STYLE


class SearchSet(PublishedSet):
    """A set of InSight-o3, as published or as packed by its authors for verl.

    Published, it is parquet with the image as bytes. Packed, it is verl's columns, with images as ``file:///`` paths
    and ``extra_info.bboxes``; the packed prompt holds a tool text or the words ``Dummy prompt``, so the question is
    taken from ``extra_info``. The boxes are two corners in pixels of the image as stored, as the authors' code that
    makes the collages has them.

    Attributes:
        box_columns: where the boxes are.
    """

    box_columns: ClassVar[Names]

    def boxes_of(self, example: Example, images: Sequence[Picture]) -> list[list[float]] | None:
        """See :class:`PublishedSet`."""
        return pixel_boxes(boxes_in(first_of(example, self.box_columns)), images[0], "pixels")


class VStarCollage(SearchSet):
    """15,300 questions about a detail of one picture in a collage of many.

    The columns are ``image``, ``question``, ``answer``, ``core_target_bbox`` (the region that shows the answer),
    ``core_layout_coord``, ``n_layouts``, ``layout_types`` and ``qa_pairs``.
    """

    name = "VisCoT_VStar_Collage"
    hub_id = "m-Just/VisCoT_VStar_Collage"
    columns = Columns(
        ("question", "extra_info.question"),
        ("answer", "reward_model.ground_truth"),
        ("image", "images"),
        more=("n_layouts", "extra_info.n_layouts"),
    )
    box_columns = ("core_target_bbox", "extra_info.core_target_bbox", "extra_info.bboxes")


class RegionLocalization(SearchSet):
    """Regions of infographics that a description names; the answer is the region.

    The columns are ``image``, ``question_id``, ``region_description`` and ``bbox``. A row asks for the box in
    thousandths of the image's sides, whatever the model's own units are, and an answer is right if its box overlaps the
    published one by at least half (:mod:`verl_mapo.rewards.box_answers`) [ours].
    """

    name = "InfoVQA_RegionLocalization"
    hub_id = "m-Just/InfoVQA_RegionLocalization"
    columns = Columns(
        ("region_description", "extra_info.search_target"),
        ("bbox", "extra_info.bboxes"),
        ("image", "images"),
        id=("question_id", "extra_info.question_id"),
    )
    box_columns = ("bbox", "extra_info.bboxes")

    def question_of(self, example: Example) -> str:
        """See :class:`PublishedSet`."""
        region = super().question_of(example).strip().rstrip(".")
        if not region:
            raise LeftOut("empty_question", "the description of the region is empty")
        return (
            f"Locate {region}. Answer with its box as [x1, y1, x2, y2], each number from 0 to {SIDE} across the image."
        )

    def truths_of(self, example: Example) -> list[str]:
        """See :class:`PublishedSet`."""
        return [json.dumps(boxes_in(first_of(example, self.box_columns))[0])]

    def target(self, truth: str, question: str, images: Sequence[Picture]) -> RewardModel:
        """See :class:`PublishedSet`."""
        [box] = pixel_boxes([json.loads(truth)], images[0], "pixels")
        width, height = images[0].width, images[0].height
        sides = (width, height, width, height)
        thousandths = [round(value * SIDE / side, 1) for value, side in zip(box, sides, strict=True)]
        return {"style": STYLE, "ground_truth": json.dumps(thousandths), "options": None}


def boxes_in(value: Any) -> list[list[float]]:
    """The boxes in a column: one box or a list of them, or such a list as JSON text.

    Raises:
        LeftOut: ``malformed``, it is none of these.
    """
    try:
        boxes = json.loads(value) if isinstance(value, str) else value
        boxes = boxes if isinstance(boxes[0], list | tuple) else [boxes]
        return [[float(side) for side in box] for box in boxes]
    except (ValueError, TypeError, LookupError):
        raise LeftOut("malformed", f"the boxes are {value!r:.80}") from None
