# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Writes scenes as image files and as rows in verl's schema. A row holds the path of its image, not a resized copy."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
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


SCENES_A_WORKER = 200
"""Number of scenes from which another process pays: it draws them in a second, which is what its start takes."""

Split = Literal["train", "test"]


def write_split(
    task: VisualSearch, seed: int, split: Split, count: int, folder: Path, final: Path, workers: int | None = None
) -> Path:
    """Write ``<split>.parquet`` and ``images/<split>_<index>.png``, the same with any number of processes.

    Args:
        task: settings of the scenes.
        seed: seed of the scenes.
        split: the split to write.
        count: number of scenes.
        folder: where to write.
        final: the folder's path once it is complete; the paths in the rows begin with it.
        workers: number of processes; None for one on each core, as far as there are enough scenes.

    Returns:
        The path of the parquet file.
    """
    images = folder / "images"
    images.mkdir(exist_ok=True)
    write = partial(_write_scene, task, seed, split, images, final.absolute() / "images")
    workers = workers or max(1, min(len(os.sched_getaffinity(0)), count // SCENES_A_WORKER))
    scenes = tqdm(_in_order(write, count, workers), total=count, desc=f"writing {split} scenes", unit="scene")
    path = folder / f"{split}.parquet"
    pq.write_table(pa.Table.from_pylist([*scenes], SCHEMA), path)
    return path


def _in_order(function: Callable[[int], dict[str, Any]], count: int, workers: int) -> Iterator[dict[str, Any]]:
    """The results of a function of 0 to ``count - 1``, in this order.

    New processes are started instead of forked, because a fork of a process that has used torch may hang.
    """
    if workers == 1:
        yield from map(function, range(count))
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(function, range(count), chunksize=32)


def _write_scene(task: VisualSearch, seed: int, split: Split, images: Path, final: Path, index: int) -> dict[str, Any]:
    """Write the image of a scene; returns the scene's row."""
    scene = task.scene(seed, split, index)
    name = f"{split}_{index:05d}.png"
    scene.image.save(images / name)
    return _row(scene.question, split, index, final / name)


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
