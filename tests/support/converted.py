# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Small converted sets, with images of given sizes or parts of photographs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import skimage.data
from PIL import Image

from verl_mapo.data.rows import schema


def photograph(name: str = "astronaut", box: tuple[int, int, int, int] = (0, 0, 240, 180)) -> Image.Image:
    """A part of a photograph that scikit-image ships in its wheel: astronaut, coffee, chelsea, rocket."""
    return Image.fromarray(getattr(skimage.data, name)()).crop(box)


def row(index: int, *images: Path, question: str | None = None, **extra: Any) -> dict[str, Any]:
    """A converted row with these images.

    Args:
        index: its number in the set.
        images: files, which may be missing.
        question: its text; by default one mark for each image and ``What is it?``.
        extra: ``data_source``, ``style``, ``options``, ``boxes``.
    """
    target = {"style": extra.get("style", "exact"), "ground_truth": "red", "options": extra.get("options")}
    return {
        "data_source": extra.get("data_source", "photos"),
        "prompt": [{"role": "user", "content": question or "<image>" * len(images) + "What is it?"}],
        "images": [{"image": f"file://{image}"} | extra.get("asked", {}) for image in images],
        "reward_model": target,
        "extra_info": {
            "index": index,
            "id": f"q{index}",
            "boxes": extra.get("boxes"),
            "difficulty": None,
            "more": "{}",
        },
    }


def write_rows(folder: Path, rows: Sequence[dict[str, Any]], name: str = "train.parquet") -> Path:
    """Write rows as a converted set; returns its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with_max_pixels = any("max_pixels" in image for each in rows for image in each["images"])
    pq.write_table(pa.Table.from_pylist(list(rows), schema(with_max_pixels)), folder / name)
    return folder


def blank(file: Path, size: tuple[int, int]) -> Path:
    """Write an image of one colour and this (width, height)."""
    Image.new("RGB", size, "teal").save(file)
    return file
