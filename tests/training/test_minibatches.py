# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""How the rows of a step are cut into mini-batches."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from verl_mapo.training.minibatches import stratified_order


@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 6), st.randoms(use_true_random=False))
def test_every_minibatch_of_a_rank_gets_its_share_of_each_kind_and_rows_stay_on_their_rank(ranks, steps, size, random):
    kinds = [random.choice([-1, 0, 0, 0, 1, 2]) for _ in range(ranks * steps * size)]
    order = stratified_order(kinds, ranks, steps)
    assert sorted(order) == list(range(len(kinds)))
    part = steps * size
    for rank in range(ranks):
        rows = order[rank * part : (rank + 1) * part]
        assert {row // part for row in rows} == {rank}
        counts = [Counter(kinds[row] for row in rows[step * size : (step + 1) * size]) for step in range(steps)]
        for kind in set(kinds):
            shares = [count[kind] for count in counts]
            assert max(shares) - min(shares) <= 1


def test_padding_is_spread_over_the_mini_batches():
    plain, resample, padding = 0, 2, -1
    order = stratified_order([plain] * 16 + [resample] * 4 + [padding] * 4, ranks=1, steps=4)
    kinds = ([plain] * 16 + [resample] * 4 + [padding] * 4, order)
    steps = [Counter(kinds[0][row] for row in order[step * 6 : (step + 1) * 6]) for step in range(4)]
    assert steps == [Counter({plain: 4, resample: 1, padding: 1})] * 4
