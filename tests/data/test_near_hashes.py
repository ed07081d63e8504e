# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""All pairs of near hashes are found, each once, and no others."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verl_mapo.data import near_hashes
from verl_mapo.data.near_hashes import near_pairs

HASHES = st.lists(st.integers(0, 2**64 - 1), max_size=12)
FLIPS = st.lists(st.tuples(st.integers(0, 11), st.lists(st.integers(0, 63), max_size=10)), max_size=12)


def as_array(values):
    return np.array(values, np.uint64)


def triples(found):
    return [tuple(map(int, triple)) for triple in zip(*found, strict=True)]


def test_pairs_computed_by_hand():
    ours, theirs = as_array([0, 0b111, 2**64 - 1, 0]), as_array([0b1, 2**63, 0b1])
    assert triples(near_pairs(ours, theirs, 1)) == [(0, 0, 1), (0, 1, 1), (0, 2, 1), (3, 0, 1), (3, 1, 1), (3, 2, 1)]
    assert triples(near_pairs(ours, theirs, 2))[3:5] == [(1, 0, 2), (1, 2, 2)]
    assert triples(near_pairs(ours, theirs, 0)) == []


@pytest.mark.parametrize("at_once", [3, 2**21])
@given(ours=HASHES, flips=FLIPS, others=HASHES, most=st.integers(0, 16))
def test_pairs_are_those_of_comparing_each_with_each(at_once, ours, flips, others, most):
    theirs = [*others]
    for index, bits in flips if ours else ():
        theirs.append(ours[index % len(ours)] ^ sum(1 << bit for bit in set(bits)))
    expected = [
        (i, j, (one ^ other).bit_count())
        for i, one in enumerate(ours)
        for j, other in enumerate(theirs)
        if (one ^ other).bit_count() <= most
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near_hashes, "_AT_ONCE", at_once)
        assert triples(near_pairs(as_array(ours), as_array(theirs), most)) == expected
