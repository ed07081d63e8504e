# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Factors of token-weighted estimators at packed positions, and their placebos."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.fake_queue import jagged
from support.tool_credit import step_of
from support.views import NAN, viewed_fields
from tensordict import TensorDict
from torch.nn.functional import pad

from verl_mapo import names
from verl_mapo.columns import PERCEPTION, UNSEEN_LOG_PROBS, VISUAL_FOCUS
from verl_mapo.lens.estimators import Rollouts
from verl_mapo.lens.token_weights import exchange, weightings
from verl_mapo.packed_rows import from_response, to_response
from verl_mapo.training.lens import LensSettings
from verl_mapo.training.mapo import Mapo
from verl_mapo.training.methods import METHODS, find_method, relatives


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


def test_placebo_exchanges_the_factors_of_each_part_among_its_own_tokens():
    factor, part = torch.arange(40.0)[None], torch.arange(40)[None] % 3
    found = exchange(factor, part, [3])
    for number in range(3):
        before, after = factor[part == number], found[part == number]
        assert torch.equal(before, after.sort().values) and torch.equal(before, after) == (number == 0)


def micro_batch() -> TensorDict:
    """A row of two prompt tokens and four response tokens, the third of which an environment wrote."""
    ids, mask = torch.tensor([5, 6, 1, 2, 3, 4]), torch.tensor([1, 1, 0, 1])
    return TensorDict({name: jagged([row]) for name, row in {"input_ids": ids, "response_mask": mask}.items()})


def test_factors_of_vgpo_are_those_computed_by_hand():
    """Scores 0.2, 0.4, 0.8 of three tokens: T = 3, the tail is t = 2, 3 and its highest score the last.

    Its weight is 0.8 (1 + 0.3 * 3 / 3) = 1.04. The weights 0.2, 0.4, 1.04 are scaled to 0, 0.2 / 0.84, 1, and their
    mean 0.412698 is taken off; their sum is 1.64.
    """
    given = {names.VGPO: {VISUAL_FOCUS.name: torch.tensor([NAN, 0.2, 0.4, NAN, 0.8, NAN])}}
    (factor, row_score), (placebo, _) = weightings(given, {}, micro_batch(), seed=0)
    assert factor.tolist() == pytest.approx([0, 0.587302, 0.825397, 1, 1.587302, 0], abs=1e-5)
    assert sorted(placebo.tolist()) == pytest.approx(sorted(factor.tolist())) and placebo[3] == 1
    assert row_score.tolist() == pytest.approx([1.64])


def test_pepo_without_entropies_is_an_error():
    with pytest.raises(RuntimeError, match="gave no entropy"):
        weightings({names.PEPO: {VISUAL_FOCUS.name: torch.zeros(6)}}, {}, micro_batch(), seed=0)


STEPS = [[0.0, -2.0, 1.0, 0.3], [0.5, 0.1, -1.0, 2.0], [NAN] * 4, [2.0, -0.4, 0.2, -0.1]]
FOCUS = [[0.2, 0.9, 0.5, 0.6], [0.7, 0.1, 0.4, NAN], [NAN] * 4, [0.3, 0.3, 0.8, 0.1]]


@pytest.mark.parametrize("name", [each for each in names.WEIGHING if each != names.PAPO])
def test_weights_and_factors_make_the_advantages_of_the_methods_own_step(queue, make_trainer, name):
    """Of rows with and without images and with a written perception, in one step of the trainer and in the lens."""
    fields = viewed_fields(STEPS) | viewed_fields([row[::-1] for row in STEPS], column=UNSEEN_LOG_PROBS)
    fields[PERCEPTION.name] = jagged([torch.tensor(row) for row in ([1, 1, 0, 0], [0, 1, 1, 0], [0] * 4, [0] * 4)])
    fields[VISUAL_FOCUS.name] = jagged([torch.tensor([*row, NAN]) for row in FOCUS])
    fields["entropy"] = jagged([torch.tensor(row) for row in [[0.1, 0.5, 0.2, 0.9]] * 4])
    make = lambda method: make_trainer(method, "trainer.total_training_steps=1")  # noqa: E731
    trainer, _ = step_of(queue, make, f"method={name}", [1.0, 0.0, 0.0, 1.0], [0] * 4, length=4, **fields)
    step, method = trainer.last_step, find_method(name)
    # jagged as verl's engine makes them, of values and offsets; a row has one token of the prompt
    whole, ends = torch.arange(5) * 5, torch.arange(5) * 4
    columns = {"input_ids": (torch.arange(20), whole), "response_mask": (torch.ones(16, dtype=torch.int64), ends)}
    columns[PERCEPTION.name] = (fields[PERCEPTION.name].values(), ends)
    rows = TensorDict(
        {key: torch.nested.nested_tensor_from_jagged(*each) for key, each in columns.items()}, batch_size=4
    )
    given = {column.name: fields[column.name].values() for column in method.columns if column != PERCEPTION}
    # verl's fields are of the response; in the pass, they lie at packed positions, one before their token
    of_pass = {field: pad(fields[field].to_padded_tensor(0.0), (0, 1)).flatten() for field in method.fields}
    (packed, row_score), _ = weightings({name: given}, of_pass, rows, seed=0)
    factor = to_response(packed, whole, torch.tensor([4] * 4), 0.0)
    nothing = torch.zeros(4, 1)
    score, one_batch = row_score.float(), torch.zeros(4, dtype=torch.int64)
    rollouts = Rollouts(step.outcome, *[nothing] * 4, score, *[nothing] * 3, step.group, one_batch)
    found = method.lens_rows()[0].weights(rollouts, torch.Generator())[:, None] * factor
    expected = torch.stack(queue.fields["advantages"].unbind())
    assert expected.unique().numel() > 4
    torch.testing.assert_close(found.float(), expected.float(), rtol=1e-5, atol=1e-5)


def test_methods_that_weigh_tokens_and_no_other_can_be_asked_for():
    weighing = [each.name for each in (*METHODS, *relatives()) if "token_factors" in vars(each)]
    assert sorted(weighing) == sorted([*names.WEIGHING, names.AXPO])
    assert LensSettings(token_weights=list(names.WEIGHING)).token_weights == list(names.WEIGHING)
    for name in names.WEIGHING:
        rows = find_method(name).lens_rows()
        assert [row.tokens for row in rows] == [name, f"{name}, shuffled"] and rows[1].placebo == name
    with pytest.raises(TypeError, match="does not define token_factors"):
        Mapo.token_factors(None)
