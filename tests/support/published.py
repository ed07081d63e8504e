# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Small folders in the layouts of published data sets, and their conversion."""

from __future__ import annotations

import base64
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from verl_mapo.data import DataSet, convert


def png(width: int = 40, height: int = 30) -> bytes:
    """The bytes of an image."""
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (width % 256, height % 256, 90)).save(buffer, "PNG")
    return buffer.getvalue()


def base64_png(width: int = 40, height: int = 30) -> str:
    """An image as base64 text."""
    return base64.b64encode(png(width, height)).decode()


def put(path: Path, content: bytes | str | Sequence[Mapping[str, Any]]) -> Path:
    """Write a file and its folder: bytes, text, or examples as parquet, JSONL or a JSON list, by the file's ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(content)), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(example) + "\n" for example in content))
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


class Converted:
    """A converted folder.

    Args:
        dataset: the set, or its class.
        source: the folder in the published layout.
        max_left_out: see :func:`convert`.

    Attributes:
        rows: the rows as they are read from the parquet file, with ``more`` decoded.
        reasons: number of examples left out by reason.
        details: what was wrong with each of them.
    """

    def __init__(self, dataset: DataSet | type[DataSet], source: Path, max_left_out: float = 0.0):
        out = source.with_name(f"{source.name}_converted")
        done = convert(dataset if isinstance(dataset, DataSet) else dataset(), source, out, max_left_out=max_left_out)
        self.rows = pq.read_table(done.file).to_pylist()
        self.reasons = Counter(done.left_out)
        self.details = [json.loads(line)["detail"] for line in (out / "left_out.jsonl").open()]
        for row in self.rows:
            row["extra_info"]["more"] = json.loads(row["extra_info"]["more"])

    @property
    def row(self) -> dict[str, Any]:
        """The only row."""
        [row] = self.rows
        return row

    @property
    def question(self) -> str:
        """The question of the only row."""
        [message] = self.row["prompt"]
        assert message["role"] == "user"
        return message["content"]

    @property
    def target(self) -> tuple[str, str]:
        """Style and truth of the only row."""
        return self.row["reward_model"]["style"], self.row["reward_model"]["ground_truth"]

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """(width, height) of each image of the only row."""
        return [Image.open(image["image"].removeprefix("file://")).size for image in self.row["images"]]
