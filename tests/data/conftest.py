# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Small published sets, made from their exact schemas, and pictures."""

from __future__ import annotations

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from verl_mapo.data.pictures import Pictures

EXAMPLES = [
    {"question": "<image>What is the angle?", "answer": r"\boxed{17^\circ}", "image": ["images/angle.png"]},
    {"question": "<image>Compare.<image>", "answer": r"\boxed{B}", "image": ["images/left.png", "images/right.jpg"]},
    {"question": "Two plus two?", "answer": r"\boxed{4}", "image": []},
]


def write_virl39k(folder: Path) -> Path:
    """Make a local folder with the layout of ViRL39K."""
    (folder / "images").mkdir(parents=True)
    rows = []
    for number, example in enumerate(EXAMPLES):
        for path in example["image"]:
            Image.new("RGB", (60 + number, 40), (200, 30, 30)).save(folder / path)
        rows.append(
            example
            | {"qid": f"q{number}", "category": "Math", "source": "test"}
            | {"PassRate_32BTrained": 0.5, "PassRate_7BBase": 0.25}
        )
    pq.write_table(pa.Table.from_pylist(rows), folder / "39Krelease.parquet")
    return folder


@pytest.fixture
def virl39k(tmp_path) -> Path:
    """A local folder with the layout of ViRL39K."""
    return write_virl39k(tmp_path / "published")


@pytest.fixture
def pictures(tmp_path) -> Pictures:
    """The images of a conversion from ``tmp_path`` to ``tmp_path/out``."""
    return Pictures(tmp_path, tmp_path / "out")


def image_bytes(kind: str = "JPEG", size: tuple[int, int] = (40, 30), colour: str = "red", **options) -> bytes:
    """The bytes of an image file."""
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, kind, **options)
    return buffer.getvalue()
