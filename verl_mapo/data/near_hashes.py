# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Pairs of 64-bit hashes that differ in few bits, without comparing each with each.

Hashes that differ in at most d bits are equal in at least one of d + 1 bands of their bits (the pigeonhole principle).
So only those that share a band are compared (Norouzi, Punjani and Fleet, "Fast search in Hamming space with multi-index
hashing", 2012).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

BITS = 64

_AT_ONCE = 2**21
"""Number of candidates that are compared at once: some 64 MB."""

Pairs = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Indices on the left, indices on the right, and distances, as arrays of equal length."""


def near_pairs(left: np.ndarray, right: np.ndarray, most: int) -> Pairs:
    """All pairs of hashes that differ in at most so many bits.

    Args:
        left, right: (N,) and (M,) hashes, uint64.
        most: the largest number of bits, from 0 to 63.

    Returns:
        Three (K,) arrays: index into ``left``, index into ``right``, number of bits; each pair once, in ascending order
        of the indices.
    """
    ours, of_ours = np.unique(left, return_inverse=True)
    theirs, of_theirs = np.unique(right, return_inverse=True)
    members, others = _members(of_ours, len(ours)), _members(of_theirs, len(theirs))
    nothing = np.empty(0, np.int64)
    whole: list[Pairs] = [(nothing, nothing, nothing)]
    for part in _unique_pairs(ours, theirs, most):
        for first, second, distance in zip(*part, strict=True):
            i, j = members[first], others[second]
            pairs = np.repeat(i, len(j)), np.tile(j, len(i))
            whole.append((*pairs, np.full(len(pairs[0]), distance)))
    i, j, distance = (np.concatenate(parts) for parts in zip(*whole, strict=True))
    order = np.lexsort((j, i))
    return i[order], j[order], distance[order]


def _unique_pairs(ours: np.ndarray, theirs: np.ndarray, most: int) -> Iterator[Pairs]:
    """The pairs among hashes that occur once on each side; a pair is found in its first band alone."""
    edges = [round(BITS * band / (most + 1)) for band in range(most + 2)]
    masks = [np.uint64((1 << high) - (1 << low)) for low, high in zip(edges, edges[1:], strict=False)]
    for band, mask in enumerate(masks):
        order = np.argsort(theirs & mask, kind="stable")
        keys = (theirs & mask)[order]
        starts, ends = (np.searchsorted(keys, ours & mask, side) for side in ("left", "right"))
        for begin, end in _chunks(ends - starts):
            counts = (ends - starts)[begin:end]
            first = np.repeat(np.arange(begin, end), counts)
            within = np.arange(len(first)) - np.repeat(np.cumsum(counts) - counts, counts)
            second = order[np.repeat(starts[begin:end], counts) + within]
            differing = ours[first] ^ theirs[second]
            distance = np.bitwise_count(differing).astype(np.int64)
            new = distance <= most
            for earlier in masks[:band]:
                new &= (differing & earlier) != 0
            yield first[new], second[new], distance[new]


def _chunks(counts: np.ndarray) -> Iterator[tuple[int, int]]:
    """Ranges of queries that have about :data:`_AT_ONCE` candidates, or of one query that has more."""
    total = np.cumsum(counts)
    begin = 0
    while begin < len(counts):
        before = total[begin - 1] if begin else 0
        end = max(int(np.searchsorted(total, before + _AT_ONCE, "right")), begin + 1)
        yield begin, end
        begin = end


def _members(of: np.ndarray, number: int) -> list[np.ndarray]:
    """The indices that have each value, by value."""
    return np.split(np.argsort(of, kind="stable"), np.cumsum(np.bincount(of, minlength=number))[:-1])
