# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""A scorer that compares the colour in a label with the image's mean colour: a complete scorer outside verl_mapo."""

from __future__ import annotations

import math
from typing import ClassVar

from PIL import Image, ImageColor, ImageStat
from pydantic import Field
from pydantic.dataclasses import dataclass

from verl_mapo.rewards.scorers.base import AlignmentScorer
from verl_mapo.rewards.scorers.settings import ScorerSettings
from verl_mapo.settings import STRICT


@dataclass(frozen=True, config=STRICT)
class ColourOptions:
    """Settings of a run: ``reward.description_alignment.scorer.options``."""

    colours: list[str] = Field(default_factory=lambda: ["red", "green", "blue", "yellow", "purple", "orange"])


class ColourScorer(AlignmentScorer):
    """1 minus the distance of both colours, in [0, 1]; 0 for a label that names none of the colours."""

    Options: ClassVar[type] = ColourOptions

    def __init__(self, settings: ScorerSettings):
        self.colours = {name: ImageColor.getrgb(name) for name in settings.options.colours}

    def score(self, texts: list[str], images: list[Image.Image]) -> list[float]:
        return [self._score(text, image) for text, image in zip(texts, images, strict=True)]

    def _score(self, text: str, image: Image.Image) -> float:
        named = [colour for name, colour in self.colours.items() if name in text.lower()]
        mean = ImageStat.Stat(image).mean
        return max((1 - math.dist(mean, colour) / math.dist((0,) * 3, (255,) * 3) for colour in named), default=0.0)
