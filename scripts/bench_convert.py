# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Speed and memory of ``verl-mapo data convert`` on synthetic sets of the size of DeepEyes-47k.

    python scripts/bench_convert.py [--rows 47000] [--large 500] [--folder FOLDER]

- *paths*: a JSONL file, and an image of 12 megapixels by path for each row (links to a few files);
- *bytes*: one parquet file with a single row group, as pandas writes it, and a JPEG of 640 x 480 in each row;
- *large bytes*: the same with JPEGs of 12 megapixels, ``--large`` of them;
- *large bytes, decoded*: as before, with every image decoded, for comparison.

Each set is converted in a process of its own. A core's seconds are the CPU time of all threads of that process, so
that another process on the machine does not count; the memory is its largest resident one (``VmHWM`` of Linux).
"""

from __future__ import annotations

import argparse
import io
import json
import os
import struct
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import chain
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from bench_images import largest_resident
from PIL import Image

from verl_mapo.data import convert, pictures
from verl_mapo.data.columns import Columns

SIZES = {"small": (640, 480), "large": (4000, 3000)}
ROWS_AT_ONCE = 64


def photograph(size: tuple[int, int], seed: int) -> bytes:
    """A JPEG about as large as that of a photograph of this size: noise over a coarse picture."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 200, (size[1] // 40, size[0] // 40, 3), dtype=np.uint8)
    pixels = np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC), dtype=np.int16)
    pixels = pixels + rng.integers(0, 24, (size[1], size[0], 1), dtype=np.int16)
    buffer = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def with_comment(jpeg: bytes, number: int) -> bytes:
    """The same picture with other bytes: a comment behind the start marker."""
    return jpeg[:2] + b"\xff\xfe\x00\x0a" + struct.pack(">Q", number) + jpeg[2:]


def write_paths(folder: Path, rows: int) -> None:
    """The set *paths*."""
    files = [folder / f"photo{seed}.jpg" for seed in range(4)]
    for seed, file in enumerate(files):
        file.write_bytes(photograph(SIZES["large"], seed))
    with (folder / "questions.jsonl").open("w") as lines:
        for number in range(rows):
            os.link(files[number % len(files)], folder / f"{number}.jpg")
            lines.write(json.dumps(asked(number) | {"images": [f"{number}.jpg"]}) + "\n")


def write_bytes(folder: Path, rows: int, size: str) -> None:
    """A set of bytes: one row group, written as a stream."""
    photos = [photograph(SIZES[size], seed) for seed in range(4)]

    def batches() -> Iterator[pa.RecordBatch]:
        for start in range(0, rows, ROWS_AT_ONCE):
            numbers = range(start, min(start + ROWS_AT_ONCE, rows))
            images = ([{"bytes": with_comment(photos[n % len(photos)], n), "path": f"{n}.jpg"}] for n in numbers)
            yield pa.RecordBatch.from_pylist(
                [asked(number) | {"images": image} for number, image in zip(numbers, images, strict=True)]
            )

    stream = batches()
    first = next(stream)
    with pq.ParquetWriter(folder / "questions.parquet", first.schema) as writer:
        for batch in chain([first], stream):
            writer.write_batch(batch)


def asked(number: int) -> dict[str, str]:
    """A question with an answer of one of the usual kinds."""
    answers = ("red", "B", f"{number} cm", "No, the car is on the left.", "The dog is to the left of the bottle.")
    return {"id": str(number), "question": f"What is shown in {number}?", "answer": answers[number % len(answers)]}


def measure(source: Path, out: Path, decoded: bool) -> tuple[float, float, int]:
    """CPU seconds, seconds and bytes of largest resident memory of a conversion."""
    if decoded:
        pictures.is_whole = lambda *_: False
    start, cpu = time.perf_counter(), time.process_time()
    convert(Columns(), source, out)
    return time.process_time() - cpu, time.perf_counter() - start, largest_resident()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=47_000)
    parser.add_argument("--large", type=int, default=500)
    parser.add_argument("--folder", type=Path, help="for the sets, which take a few GB; a temporary one by default")
    asked_for = parser.parse_args()
    rows, large = asked_for.rows, asked_for.large
    sets = [("paths", rows, "", False), ("bytes", rows, "small", False)]
    sets += [("large bytes", large, "large", False), ("large bytes, decoded", large, "large", True)]
    print("| set | rows | GB of source | rows a second and core | rows a second | largest memory, GB |")
    print("|---|---|---|---|---|---|")
    for name, count, size, decoded in sets:
        with tempfile.TemporaryDirectory(dir=asked_for.folder) as place:
            source = Path(place, "source")
            source.mkdir()
            write_bytes(source, count, size) if size else write_paths(source, count)
            held = sum(file.stat().st_size for file in source.iterdir() if size or file.stem.startswith("photo"))
            with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                cpu, seconds, memory = pool.submit(measure, source, Path(place, "out"), decoded).result()
        speed = f"**{count / cpu:.0f}** | {count / seconds:.0f} | {memory / 1e9:.2f}"
        print(f"| {name} | {count} | {held / 1e9:.2f} | {speed} |", flush=True)


if __name__ == "__main__":
    main()
