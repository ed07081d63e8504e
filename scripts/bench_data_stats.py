# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Time and memory of ``verl-mapo data stats``, and of the search of ``verl-mapo data overlap``, for 47,000 rows.

    python scripts/bench_data_stats.py [--rows 47000] [--benchmark 10000] [--model FOLDER]

The set is synthetic: one image file a row, hard links to some JPEG and PNG files of 256 to 4000 pixels, because only
their heads and ends are read. Each command runs in a process of its own; memory is its largest resident set. Targets:
at most 2 minutes and 1 GB for 47,000 rows.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from verl_mapo.data.near_hashes import near_pairs
from verl_mapo.data.rows import make_row, schema

TINY = Path(__file__).parents[1] / "verl_mapo" / "toy" / "models" / "qwen2_5_vl-full"
QUESTION = "What is the colour of the {} next to the {}, and on which side of the photograph is it?"
WORDS = ("dog", "bottle", "traffic light", "umbrella", "bench", "number plate", "shop sign", "bird", "rope")


class Linked:
    """An image of a row, in place of a checked one: writing the set is not what is measured."""

    def __init__(self, path: Path):
        self.path = path

    def as_image(self) -> dict[str, str]:
        return {"image": f"file://{self.path}"}


def originals(folder: Path, rng: random.Random) -> list[Path]:
    """Image files of many sizes: photographs' sizes, smooth content."""
    folder.mkdir()
    ramp = Image.radial_gradient("L").convert("RGB")
    files = []
    for number in range(60):
        size = round(2 ** rng.uniform(8, 12)), round(2 ** rng.uniform(8, 12))
        files.append(folder / f"{number}.{'png' if number % 6 == 0 else 'jpg'}")
        ramp.resize(size).save(files[-1])
    return files


def write_set(folder: Path, rows: int) -> None:
    """Write a converted set of so many rows, in parts of 1000."""
    rng = random.Random(0)
    files = originals(folder / "originals", rng)
    (folder / "images").mkdir()

    def parts() -> Iterator[pa.RecordBatch]:
        for start in range(0, rows, 1000):
            made = []
            for index in range(start, min(start + 1000, rows)):
                file = rng.choice(files)
                link = folder / "images" / f"{index}{file.suffix}"
                os.link(file, link)
                target = {"style": "exact", "ground_truth": rng.choice(WORDS), "options": None}
                question = QUESTION.format(rng.choice(WORDS), rng.choice(WORDS))
                made.append(make_row(f"source_{index % 3}", index, question, [Linked(link)], target))
            yield pa.RecordBatch.from_pylist(made, schema())

    with pq.ParquetWriter(folder / "train.parquet", schema()) as writer:
        for part in parts():
            writer.write_batch(part)


def measured(*arguments: str) -> tuple[float, float, float]:
    """Wall and CPU seconds of a command of the package, and its largest resident set in MB."""
    command = [sys.executable, "-m", "verl_mapo.cli", "data", *arguments]
    start = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(command)} failed with {child.returncode}.")
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6


def search_seconds(rows: int, benchmark: int) -> tuple[float, int]:
    """CPU seconds of the search for near hashes, and the number of pairs: random hashes, some planted."""
    rng = np.random.default_rng(0)
    ours, theirs = (rng.integers(0, 2**64, number, np.uint64) for number in (rows, benchmark))
    planted = benchmark // 100
    theirs[:planted] = ours[:planted] ^ np.uint64(0b10011)
    start = time.process_time()
    found = near_pairs(ours, theirs, 6)
    return time.process_time() - start, len(found[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=47_000)
    parser.add_argument("--benchmark", type=int, default=10_000)
    parser.add_argument("--model", type=Path, default=TINY, help="folder of the model that renders the prompts")
    asked = parser.parse_args()
    print("| command | rows | wall s | CPU s | largest resident set, MB |\n|---|---|---|---|---|")
    for rows in (asked.rows // 10, asked.rows):
        with TemporaryDirectory() as folder:
            write_set(Path(folder), rows)
            for name, model in (("stats", ()), ("stats --model", ("--model", str(asked.model)))):
                wall, cpu, memory = measured("stats", folder, *model)
                print(f"| {name} | {rows:,} | {wall:.0f} | {cpu:.0f} | {memory:.0f} |", flush=True)
    seconds, pairs = search_seconds(asked.rows, asked.benchmark)
    print(f"\nSearch among {asked.rows:,} x {asked.benchmark:,} hashes: {seconds:.1f} s of CPU time, {pairs:,} pairs.")


if __name__ == "__main__":
    main()
