# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The check of answers that are a box, for questions that ask where something is.

Such a question says in its own words that the box is wanted in thousandths of the image's sides, so that the check
needs no units of a model family and no size of an image.
"""

from __future__ import annotations

import json
import re
from typing import Any

from verl_mapo.tools.coordinates import Box, iou

SIDE = 1000
"""Length of a side of the image in the numbers of an answer."""

LEAST_OVERLAP = 0.5
"""Intersection over union from which on a box is right, as for a detection that counts [ours]."""

STYLE = "verl_mapo.rewards.box_answers:box_overlaps"
"""The style of rows whose answers are boxes."""

_NUMBER = r"\s*(-?\d{1,7}(?:\.\d{1,7})?)\s*"
_BOX = re.compile(rf"[\[(]{','.join([_NUMBER] * 4)}[\])]")


def box_overlaps(answer: str, truth: str, **_: Any) -> bool:
    """Whether the one box in an answer overlaps the true box enough; see :data:`LEAST_OVERLAP`.

    Args:
        answer: the extracted answer. Where it holds several boxes, it is wrong.
        truth: the true box ``[x1, y1, x2, y2]``, JSON, in the same units.
    """
    found = _BOX.findall(answer)
    return len(found) == 1 and iou(_box(found[0]), _box(json.loads(truth))) >= LEAST_OVERLAP


def _box(numbers: Any) -> Box:
    x1, y1, x2, y2 = map(float, numbers)
    return x1, y1, x2, y2
