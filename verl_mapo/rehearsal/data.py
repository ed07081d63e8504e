# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The data of a rehearsal: rows about generated pictures, up to 8000 x 6000, or the first rows of the user's file."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from PIL import Image, ImageDraw
from pydantic import dataclasses

from verl_mapo.data.base import DataSet, Example, Pictures, RewardModel, Row, make_row
from verl_mapo.data.conversion import convert
from verl_mapo.rewards.answers import truths_of
from verl_mapo.settings import STRICT
from verl_mapo.training.start_checks import check_data_file, data_rows

ROWS = 24
"""Rows of a rehearsal; dynamic sampling may need more than the prompts of its steps."""

SIZES = ((8000, 6000), (320, 240), (640, 480), (300, 500))
"""(width, height) of the generated pictures in turn, in pixels."""

STYLES = ("exact", "numeric", "math", "multiple_choice")
"""Answer checks of the generated rows in turn."""

COUNTS = ("2", "3")
"""The right answers of the generated rows."""


@dataclass(frozen=True)
class Rows:
    """The data of a rehearsal.

    Attributes:
        file: the parquet file.
        answers: the right answers that occur in it.
        about: where the rows are from, in words.
    """

    file: Path
    answers: tuple[str, ...]
    about: str


class RedSquares(DataSet):
    """Pictures with two or three red squares, and the question how many there are."""

    name = "rehearsal"

    @dataclasses.dataclass(frozen=True, config=STRICT)
    class Options:
        """What is drawn and asked.

        Attributes:
            by_math: compare every answer by ``math``, as some reward functions do, instead of by every check in turn.
            sizes: (width, height) of the pictures in turn, in pixels.
            count: number of rows.
        """

        by_math: bool
        sizes: tuple[tuple[int, int], ...]
        count: int

    def examples(self, source: Path) -> Iterator[Example]:
        """Draw the pictures into the folder, and give the questions about them."""
        sizes, styles = self.options.sizes, ("math",) if self.options.by_math else STYLES
        for index in range(self.options.count):
            count = COUNTS[index // len(sizes) % len(COUNTS)]
            picture = source / f"{index % (len(sizes) * len(COUNTS))}.jpg"
            if not picture.exists():
                draw(sizes[index % len(sizes)], int(count), index).save(picture, quality=90)
            yield {"picture": picture, "count": count, "style": styles[index % len(styles)]}

    def row(self, index: int, example: Example, pictures: Pictures) -> Row:
        """See :class:`DataSet`."""
        question = "How many red squares are there? Give the number between <answer> and </answer>."
        target: RewardModel = {"style": example["style"], "ground_truth": example["count"], "options": None}
        if example["style"] == "multiple_choice":
            target["options"] = [*COUNTS]
        return make_row(self.name, index, question, [pictures.at(example["picture"])], target)


def draw(size: tuple[int, int], count: int, seed: int) -> Image.Image:
    """A picture with noise in the background and red squares, which are small where it is large.

    Args:
        size: (width, height) in pixels.
        count: number of squares.
        seed: seed of the noise and of the places.
    """
    rng = random.Random(seed)
    noise = np.random.default_rng(seed).integers(90, 200, (60, 80, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize(size, Image.Resampling.BILINEAR)
    side = max(min(size) // 40, 8)
    for column in rng.sample(range(8), count):  # a column for each, so that none hides another
        x, y = column * size[0] // 8, rng.randrange(size[1] - side)
        ImageDraw.Draw(image).rectangle((x, y, x + side, y + side), fill=(220, 20, 20))
    return image


def generated_rows(
    folder: Path,
    by_math: bool,
    max_pixels: int | None = None,
    sizes: Sequence[tuple[int, int]] | None = None,
    count: int = ROWS,
) -> Rows:
    """Write rows in the schema of ``verl-mapo data convert``.

    Args:
        folder: for pictures and ``train.parquet``.
        by_math, sizes, count: see :class:`RedSquares`; sizes are :data:`SIZES` by default.
        max_pixels: largest number of pixels at which the model sees a picture; None for the limits of the run.
    """
    pictures, sizes = folder / "pictures", sizes or SIZES
    pictures.mkdir(parents=True, exist_ok=True)
    drawn = RedSquares({"by_math": by_math, "sizes": tuple(sizes), "count": count})
    written = convert(drawn, pictures, folder, max_pixels=max_pixels)
    ends = " and ".join(f"{width} x {height}" for width, height in (sizes[0], sizes[-1]))
    return Rows(written.file, COUNTS, f"{written.rows} generated rows, pictures from {ends} pixels")


def first_rows(file: Path, folder: Path) -> Rows:
    """Write the first rows of the user's file, with all their columns.

    Args:
        file: what verl reads: .parquet, .json or .jsonl.
        folder: for ``train.parquet``.

    Raises:
        ConfigError: there is no such file, or it cannot be read.
    """
    check_data_file(f"--data {file}", str(file))
    rows = data_rows([str(file)])
    rows = rows.select(range(min(ROWS, len(rows))))
    folder.mkdir(parents=True, exist_ok=True)
    out = folder / "train.parquet"
    rows.to_parquet(out)
    return Rows(out, answers_of(rows), f"the first {len(rows)} rows of {file}")


def answers_of(rows: Dataset) -> tuple[str, ...]:
    """The right answers of some rows that are one token each for the policy; a row without one is passed over."""
    found: list[Any] = []
    for target in rows["reward_model"] if "reward_model" in rows.column_names else ():
        try:
            found += truths_of((target or {}).get("ground_truth"))
        except ValueError:
            continue  # the checks of the run say what is wrong with it
    return tuple(dict.fromkeys(map(str, found))) or COUNTS
