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

from verl_mapo.data import DataSet, Row, convert
from verl_mapo.rewards.answers import truths_of
from verl_mapo.settings import ConfigError
from verl_mapo.training.start_checks import FORMATS, data_rows

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
    """Pictures with two or three red squares, and the question how many there are.

    Args:
        by_math: compare every answer by ``math``, as some reward functions do, instead of by every check in turn.
        max_pixels: largest number of pixels at which the model sees a picture; None for the limits of the run.
        sizes: (width, height) of the pictures in turn, in pixels.
        count: number of rows.
    """

    name = "rehearsal"

    def __init__(self, by_math: bool, max_pixels: int | None, sizes: Sequence[tuple[int, int]], count: int):
        self.styles = ("math",) if by_math else STYLES
        self.max_pixels = max_pixels
        self.sizes, self.count = sizes, count

    def rows(self, source: Path) -> Iterator[Row]:
        """Draw the pictures into the folder, and give the rows about them."""
        for index in range(self.count):
            count = COUNTS[index // len(self.sizes) % len(COUNTS)]
            picture = source / f"{index % (len(self.sizes) * len(COUNTS))}.jpg"
            if not picture.exists():
                draw(self.sizes[index % len(self.sizes)], int(count), index).save(picture, quality=90)
            question = "<image>How many red squares are there? Give the number between <answer> and </answer>."
            reward = {"style": self.styles[index % len(self.styles)], "ground_truth": count}
            yield {
                "data_source": self.name,
                "prompt": [{"role": "user", "content": question}],
                "images": [{"image": str(picture), "max_pixels": self.max_pixels}],
                "reward_model": reward | ({"options": list(COUNTS)} if reward["style"] == "multiple_choice" else {}),
                "extra_info": {"index": index},
            }


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
        by_math, max_pixels, sizes, count: see :class:`RedSquares`; sizes are :data:`SIZES` by default.
    """
    pictures, sizes = folder / "pictures", sizes or SIZES
    pictures.mkdir(parents=True, exist_ok=True)
    written = convert(RedSquares(by_math, max_pixels, sizes, count), pictures, folder)
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
    if file.suffix not in FORMATS or not file.is_file():
        raise ConfigError(f"--data {file} is refused: give a .parquet, .json or .jsonl file that exists.")
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
