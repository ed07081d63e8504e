# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Whole steps of AXPO on a policy whose gradients are known; tests/lens/test_passes.py has those of a tiny model."""

from __future__ import annotations

import pytest
import torch
from support.policies import resampled_steps, with_wrong_sign

from verl_mapo.advantages.axpo import AxpoSettings
from verl_mapo.lens.comparison import Plan
from verl_mapo.lens.estimators import Estimator, accuracy, grpo, resampled
from verl_mapo.lens.steps import compare_steps, updates
from verl_mapo.settings import ConfigError

AXPO, PLACEBO = resampled("axpo", AxpoSettings())
GRPO = Estimator("grpo", grpo)
PLAN = Plan(questions=4, passes=5, draws=20)


def test_credit_of_prefixes_helps_where_they_decide_and_its_placebo_and_a_wrong_sign_do_not():
    collection = resampled_steps(60, 4)
    found = compare_steps(collection, [GRPO, AXPO, PLACEBO], PLAN)
    base, real, placebo = found.table
    assert (found.number, found.questions, found.rollouts) == (60, 4, 4)
    assert base.gain == (0, 0, 0) and base.worth == base.step_worth == (1, 1, 1) and base.rollouts == 16
    assert real.gain.low > 0 and real.step_worth.low > 1 and real.worth.value > 1
    assert placebo.gain.low < 0 and placebo.worth.high < 1
    wrong = compare_steps(collection, [AXPO, with_wrong_sign(AXPO)], PLAN).table[1]
    assert wrong.gain.high < 0 and wrong.snr.value < real.snr.value and wrong.bias_cosine.value < 0.95
    assert real.rollouts == placebo.rollouts == 16 + found.continuations / 60
    assert real.worth == pytest.approx([value * 16 / real.rollouts for value in real.step_worth])


def test_update_of_a_step_is_the_sum_over_its_rollouts_and_batches_are_unions_of_steps():
    """The only batch of a whole half is the expected update of the half."""
    collection = resampled_steps(6, 2)
    originals = collection.originals()
    found, idle = updates(originals, Estimator("accuracy", accuracy), torch.Generator())
    by_question = originals.outcome.view(12, 4).double()
    weights = ((by_question - by_question.mean(dim=1, keepdim=True)) * 4 / 3).flatten()
    expected = (weights.unsqueeze(1) * originals.sketches).view(6, 8, 3).sum(dim=1)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
    assert idle == pytest.approx(float((weights == 0).double().mean()))
    whole = Plan(questions=6, passes=2, draws=0)
    [row] = compare_steps(collection, [Estimator("accuracy", accuracy)], whole).table
    assert row.cosine.value == pytest.approx(row.bias_cosine.value) and row.true_cosine.value > row.cosine.value


@pytest.mark.parametrize("questions", [3, 6, 16])
def test_batch_of_other_questions_than_those_of_whole_steps_is_refused(questions):
    words = (
        rf"--batch {questions} is refused.*steps of 4 questions, of which there are 6. Give a multiple of 4, at most 12"
    )
    with pytest.raises(ConfigError, match=words):
        compare_steps(resampled_steps(6, 4), [GRPO], Plan(questions=questions))
