# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Scorers from outside the package, and images. Its imports take no time, because ray's workers import it."""

import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from pydantic.dataclasses import dataclass

from verl_mapo.rewards.scorers.base import AlignmentScorer
from verl_mapo.rewards.scorers.settings import ScorerSettings
from verl_mapo.settings import STRICT


def picture(seed: int, size: tuple[int, int] = (80, 60)) -> Image.Image:
    """A random RGB image."""
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(noise)


def picture_bytes(seed: int, size: tuple[int, int] = (80, 60)) -> bytes:
    """The same image as PNG, without loss; the loop sends JPEG."""
    buffer = io.BytesIO()
    picture(seed, size).save(buffer, "PNG")
    return buffer.getvalue()


class NumberScorer(AlignmentScorer):
    """Scores a pair by the number at the end of its text and ignores the image, so that tests can check the order.

    Attributes:
        batches: size of every call.
        before: called with the texts of a batch before it is scored; may raise or block.
    """

    def __init__(self, settings: ScorerSettings | None = None, before: Callable[[list[str]], None] | None = None):
        self.batches: list[int] = []
        self.before = before or (lambda texts: None)

    def score(self, texts: list[str], images: list[Image.Image]) -> list[float]:
        self.batches.append(len(texts))
        self.before(texts)
        return [float(text.split()[-1]) for text in texts]


class OptionsScorer(NumberScorer):
    """A :class:`NumberScorer` with options: it multiplies its scores and writes the size of each batch to a file."""

    @dataclass(frozen=True, config=STRICT)
    class Options:
        factor: float = 1.0
        batches_file: str | None = None

    def __init__(self, settings: ScorerSettings):
        super().__init__(settings)
        self.options: OptionsScorer.Options = settings.options

    def score(self, texts: list[str], images: list[Image.Image]) -> list[float]:
        if self.options.batches_file:
            with Path(self.options.batches_file).open("a") as file:
                file.write(f"{len(texts)}\n")
        return [self.options.factor * value for value in super().score(texts, images)]


class PlaceScorer(NumberScorer):
    """Scores every pair by where it runs: 100 for each GPU that its process may use, and the number of its own."""

    def __init__(self, settings: ScorerSettings):
        super().__init__(settings)
        self.place = 100.0 * len(os.environ["CUDA_VISIBLE_DEVICES"].split(","))
        self.place += float(settings.target.removeprefix("cuda").removeprefix(":") or 0)

    def score(self, texts: list[str], images: list[Image.Image]) -> list[float]:
        return [self.place] * len(texts)


class EndingScorer(NumberScorer):
    """A :class:`NumberScorer` whose process ends at the text ``end``, as one does that runs out of memory."""

    def score(self, texts: list[str], images: list[Image.Image]) -> list[float]:
        if "end" in texts:
            os._exit(1)
        return super().score(texts, images)


class EndingScorerAtOnce(NumberScorer):
    """A scorer whose process ends while it loads."""

    def __init__(self, settings: ScorerSettings):
        os._exit(1)


NUMBER_SCORER = f"{__name__}.NumberScorer"
OPTIONS_SCORER = f"{__name__}.OptionsScorer"
PLACE_SCORER = f"{__name__}.PlaceScorer"
ENDING_SCORER = f"{__name__}.EndingScorer"
