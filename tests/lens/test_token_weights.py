# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Factors of token-weighted estimators at packed positions, and their placebos."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tensordict import TensorDict

from verl_mapo import names
from verl_mapo.lens.token_weights import exchange, weightings
from verl_mapo.packed_rows import from_response, to_response


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 6)), min_size=1, max_size=4), st.integers(0, 99))
def test_placebo_has_the_factors_of_each_row_on_the_same_tokens(rows, seed):
    """And response values go to packed positions, one before their token, and back."""
    prompts, lengths = (torch.tensor(each) for each in zip(*rows, strict=True))
    random = torch.Generator().manual_seed(seed)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), (prompts + lengths).cumsum(0)])
    shape = len(rows), int(lengths.max())
    inside = torch.arange(shape[1]) < lengths.unsqueeze(1)
    factor = torch.rand(shape, generator=random).masked_fill(~inside, 0.0)
    assert torch.equal(to_response(from_response(factor, offsets, lengths), offsets, lengths, 0.0), factor)

    scored = inside & (torch.rand(shape, generator=random) < 0.7)
    found = exchange(factor, scored, [seed] * len(rows))
    assert torch.equal(found[~scored], factor[~scored])
    for before, after, at in zip(factor, found, scored, strict=True):
        assert torch.equal(before[at].sort().values, after[at].sort().values)


def micro_batch() -> TensorDict:
    """A row of two prompt tokens and four response tokens, the third of which an environment wrote."""
    ids, mask = torch.tensor([5, 6, 1, 2, 3, 4]), torch.tensor([1, 1, 0, 1])
    nested = {"input_ids": ids, "response_mask": mask}
    return TensorDict({name: torch.nested.as_nested_tensor([row], layout=torch.jagged) for name, row in nested.items()})


def test_factors_of_vgpo_are_those_computed_by_hand():
    """Scores 0.2, 0.4, 0.8 of three tokens: T = 3, the tail is t = 2, 3 and its highest score the last.

    Its weight is 0.8 (1 + 0.3 * 3 / 3) = 1.04. The weights 0.2, 0.4, 1.04 are scaled to 0, 0.2 / 0.84, 1, and their
    mean 0.412698 is taken off; their sum is 1.64.
    """
    nan = float("nan")
    scores = {names.VGPO: torch.tensor([nan, 0.2, 0.4, nan, 0.8, nan])}
    (factor, placebo), (row_score,) = weightings(scores, None, micro_batch(), seed=0)
    assert factor.tolist() == pytest.approx([0, 0.587302, 0.825397, 1, 1.587302, 0], abs=1e-5)
    assert sorted(placebo.tolist()) == pytest.approx(sorted(factor.tolist())) and placebo[3] == 1
    assert row_score.tolist() == pytest.approx([1.64])


def test_pepo_without_entropies_is_an_error():
    with pytest.raises(RuntimeError, match="gave no entropy"):
        weightings({names.PEPO: torch.zeros(6)}, None, micro_batch(), seed=0)
