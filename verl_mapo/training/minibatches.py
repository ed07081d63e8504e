# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The order of a step's rows when a method has added some: every mini-batch gets its share of each kind of row.

verl pads a batch to a multiple of ``ppo_mini_batch_size * rollout.n`` rows, so a few extra rows would make one more
optimizer step, nearly all padding. Here the number of mini-batches depends on the prompts alone.
"""

from __future__ import annotations

from collections.abc import Sequence


def stratified_order(kinds: Sequence[int], ranks: int, steps: int) -> list[int]:
    """An order of rows in which the mini-batches have equally many rows of each kind, up to a difference of one.

    Rows stay on their data-parallel rank, which verl chose to balance tokens.

    Args:
        kinds: (B,) the kind of each row, any numbers. B is a multiple of ``ranks * steps``.
        ranks: number of data-parallel ranks; rank i has the i-th of ``ranks`` equal parts of the rows.
        steps: number of mini-batches; mini-batch j of a rank is the j-th of ``steps`` equal parts of its rows.

    Returns:
        (B,) the old position of each row in the new order.
    """
    size = len(kinds) // ranks
    order = []
    for rank in range(ranks):
        rows = sorted(range(rank * size, (rank + 1) * size), key=kinds.__getitem__)
        for step in range(steps):
            order += rows[step::steps]
    return order
