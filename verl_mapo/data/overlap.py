# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Images that a training set shares with a benchmark: equal files, and images that look alike."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.markup import escape
from rich.table import Table

from verl_mapo.data.image_hashes import HashedImage, Hashes, hashes_of
from verl_mapo.data.near_hashes import near_pairs
from verl_mapo.report.pages import jpeg_url, write_page
from verl_mapo.rollout.decode import decode, read_file

PAGE = "overlap.html"

MOST_BITS = 6
"""Default of the number of differing bits, of 64, up to which two images count as alike [ours]."""

_SIDE = 420
"""Longest side in pixels of an image of the page."""


@dataclass(frozen=True)
class Pair:
    """An image of the training set and one of the benchmark that are the same or look alike.

    Attributes:
        ours, theirs: of the training set, and of the benchmark.
        exact: whether the files have the same bytes.
        distance: number of differing bits of their perceptual hashes; 0 for equal files.
    """

    ours: HashedImage
    theirs: HashedImage
    exact: bool
    distance: int


@dataclass(frozen=True)
class Overlap:
    """What a training set shares with a benchmark.

    Attributes:
        ours, theirs: the images of both.
        most_bits: number of differing bits up to which images count as alike.
        pairs: equal files first, then in ascending order of the distance.
    """

    ours: Hashes
    theirs: Hashes
    most_bits: int
    pairs: list[Pair]

    def of_kind(self, exact: bool) -> list[Pair]:
        """The pairs of equal files, or of those that only look alike."""
        return [pair for pair in self.pairs if pair.exact == exact]

    def as_json(self) -> dict[str, Any]:
        """All pairs and counts as plain values."""
        return {
            "data": _about(self.ours),
            "benchmark": _about(self.theirs),
            "most_bits": self.most_bits,
            "pairs": [
                {
                    "exact": pair.exact,
                    "distance": pair.distance,
                    "data": {"image": str(pair.ours.path), "rows": list(pair.ours.rows)},
                    "benchmark": {"image": str(pair.theirs.path), "rows": list(pair.theirs.rows)},
                }
                for pair in self.pairs
            ],
        }


def overlap_of(place: Path, benchmark: Path, most_bits: int = MOST_BITS) -> Overlap:
    """Compare the images of a training set with those of a benchmark.

    Args:
        place, benchmark: rows or a plain folder of images, see :func:`hashes_of`.
        most_bits: number of differing bits of 64 up to which two images count as alike.

    Raises:
        ConfigError: one of them holds neither rows nor images.
    """
    ours, theirs = hashes_of(place), hashes_of(benchmark)
    pairs = sorted(
        _pairs(ours.images, theirs.images, most_bits),
        key=lambda pair: (not pair.exact, pair.distance, pair.ours.path, pair.theirs.path),
    )
    return Overlap(ours, theirs, most_bits, pairs)


def _pairs(ours: Sequence[HashedImage], theirs: Sequence[HashedImage], most_bits: int) -> Iterator[Pair]:
    by_content = defaultdict(list)
    for image in theirs:
        by_content[image.content].append(image)
    for image in ours:
        yield from (Pair(image, other, True, 0) for other in by_content[image.content])
    textured = [[image for image in images if image.seen is not None] for images in (ours, theirs)]
    left, right = (np.array([image.seen for image in images], np.uint64) for images in textured)
    for i, j, distance in zip(*near_pairs(left, right, most_bits), strict=True):
        image, other = textured[0][i], textured[1][j]
        if image.content != other.content:
            yield Pair(image, other, False, int(distance))


def overlap_table(overlap: Overlap) -> Table:
    """How many images and rows are shared, and what could not be read."""
    names = escape(overlap.ours.place.name), escape(overlap.theirs.place.name)
    table = Table("", *names, title="Overlap of images", title_justify="left")
    sides = overlap.ours, overlap.theirs
    table.add_row("rows", *(f"{side.rows:,}" if side.has_rows else "a plain folder" for side in sides))
    table.add_row("images, each file once", *(f"{len(side.images):,}" for side in sides))
    table.add_row("  of nearly one colour: compared by bytes alone", *(f"{_flat(side):,}" for side in sides))
    for exact, title in (
        (True, "the same file"),
        (False, f"look alike: at most {overlap.most_bits} of 64 bits differ"),
    ):
        pairs = overlap.of_kind(exact)
        shared = [{pair.ours.path: pair.ours for pair in pairs}, {pair.theirs.path: pair.theirs for pair in pairs}]
        table.add_section()
        table.add_row(
            title, *(_share(len(images), len(side.images)) for images, side in zip(shared, sides, strict=True))
        )
        rows = [
            f"{_rows(images.values()):,}" if side.has_rows else "" for images, side in zip(shared, sides, strict=True)
        ]
        table.add_row("  rows with such an image", *rows)
    for reason in sorted({*sides[0].faults, *sides[1].faults}):
        table.add_row(f"[red]not read, {reason}", *(f"[red]{side.faults[reason]:,}" for side in sides))
    return table


def write_overlap_page(overlap: Overlap, out: Path, number: int = 60) -> Path:
    """Write the page with the pairs side by side.

    Args:
        overlap: what is shared.
        out: folder of the page.
        number: number of pairs that are drawn; equal files, and then the most alike, come first.
    """
    context = {
        "overlap": overlap,
        "drawn": [(pair, _url(pair.ours), _url(pair.theirs)) for pair in overlap.pairs[:number]],
        "kinds": [(exact, len(overlap.of_kind(exact))) for exact in (True, False)],
    }
    write_page("overlap.html.j2", context, out / PAGE, Path(__file__).parent)
    return out / PAGE


def _url(image: HashedImage) -> str:
    return jpeg_url(decode(read_file(image.path)), _SIDE)


def _about(hashes: Hashes) -> dict[str, Any]:
    faults = {reason: {"count": count, "first": hashes.named[reason]} for reason, count in hashes.faults.items()}
    return {"place": str(hashes.place), "rows": hashes.rows, "images": len(hashes.images), "faults": faults}


def _flat(hashes: Hashes) -> int:
    return sum(image.seen is None for image in hashes.images)


def _share(count: int, of: int) -> str:
    return f"{count:,} ({count / of:.1%})" if of else "0"


def _rows(images: Iterable[HashedImage]) -> int:
    return len({row for image in images for row in image.rows})
