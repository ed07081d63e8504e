# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Writes scenes as image files and as rows in verl's schema. A row holds the path of its image, not a resized copy."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from verl_mapo.rollout.prompts import DEFAULT_SYSTEM
from verl_mapo.toy.visual_search import Question, VisualSearch

DATA_SOURCE = "visual_search"
"""``data_source`` of every row."""

SCHEMA = pa.schema(
    {
        "data_source": pa.string(),
        "prompt": pa.list_(pa.struct({"role": pa.string(), "content": pa.string()})),
        "images": pa.list_(pa.string()),
        "ability": pa.string(),
        "reward_model": pa.struct({"style": pa.string(), "ground_truth": pa.string()}),
        "extra_info": pa.struct(
            {
                "index": pa.int64(),
                "split": pa.string(),
                "kind": pa.string(),
                "needs_zoom": pa.bool_(),
                "target_box": pa.list_(pa.int64()),
                "target_name": pa.string(),
            }
        ),
    }
)
"""Columns of the parquet files. ``target_box`` is in pixels of the image; box and name are empty for a count."""


def write_split(
    task: VisualSearch, seed: int, split: Literal["train", "test"], count: int, folder: Path, final: Path
) -> Path:
    """Write ``<split>.parquet`` and ``images/<split>_<index>.png``.

    Args:
        task: settings of the scenes.
        seed: seed of the scenes.
        split: the split to write.
        count: number of scenes.
        folder: where to write.
        final: the folder's path once it is complete; the paths in the rows begin with it.

    Returns:
        The path of the parquet file.
    """
    images = folder / "images"
    images.mkdir(exist_ok=True)
    rows = []
    for index in tqdm(range(count), desc=f"writing {split} scenes", unit="scene"):
        scene = task.scene(seed, split, index)
        name = f"{split}_{index:05d}.png"
        scene.image.save(images / name)
        rows.append(_row(scene.question, split, index, final.absolute() / "images" / name))
    path = folder / f"{split}.parquet"
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), path)
    return path


def _row(question: Question, split: str, index: int, image: Path) -> dict[str, Any]:
    target = question.target
    return {
        "data_source": DATA_SOURCE,
        "prompt": [
            {"role": "system", "content": DEFAULT_SYSTEM},
            {"role": "user", "content": f"<image>{question.text}"},
        ],
        "images": [str(image)],
        "ability": "visual_search",
        "reward_model": {"style": "exact", "ground_truth": question.answer},
        "extra_info": {
            "index": index,
            "split": split,
            "kind": question.kind,
            "needs_zoom": question.needs_zoom,
            "target_box": list(target.box) if target else [],
            "target_name": target.name if target else "",
        },
    }
