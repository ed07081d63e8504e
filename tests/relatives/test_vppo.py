# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""VPPO: by hand, against a loop over rows and tokens, and in a step of the trainer."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.scripted import compose_config
from support.tool_credit import step_of
from support.views import NAN, k3, score_rows, scores_of, viewed_fields

from verl_mapo.relatives.vppo import Vppo, mean_score, row_factor, vppo_factors
from verl_mapo.settings import ConfigError
from verl_mapo.views.auxiliary import AUXILIARY
from verl_mapo.views.divergence import divergence


def by_loop(rows, kept=0.4, least=0.9):
    """Eq. 2 to 5 in plain Python: factors of rows, and which tokens are trained."""
    scored = [[t for t, value in enumerate(row) if not math.isnan(value)] for row in rows]
    means = {i: sum(row[t] for t in at) / len(at) for i, (row, at) in enumerate(zip(rows, scored, strict=True)) if at}
    low, high = (min(means.values()), max(means.values())) if means else (0, 0)
    n = {i: (mean - low) / (high - low) if high > low else 0.0 for i, mean in means.items()}
    average = sum(n.values()) / len(n) if n else 0
    factors, masks = [], []
    for i, (row, at) in enumerate(zip(rows, scored, strict=True)):
        factors.append(least + n[i] * (1 - least) / average if i in n and average else 1.0)
        best = sorted(at, key=lambda t, row=row: -row[t])[: math.ceil(round(kept * len(at), 6))]
        masks.append([t not in at or t in best for t in range(len(row))])
    return factors, masks


def test_factors_by_hand():
    """S = 1, 3, 2: n = 0, 1, 0.5 with mean 0.5, so c = 0.9 + 0.1 / 0.5 = 1.1 and f = 0.9, 1.1, 1."""
    score, scored = scores_of([[1.0, 1.0, 1.0, 1.0, 1.0], [5, 4, 3, 2, 1], [0, 4, NAN, NAN, NAN]])
    factors = vppo_factors(score, scored)
    assert factors.row.tolist() == pytest.approx([0.9, 1.1, 1.0])
    assert factors.kept.tolist() == [
        [True, True, False, False, False],  # ceil(0.4 * 5) = 2, ties from the left
        [True, True, False, False, False],
        [False, True, True, True, True],  # ceil(0.4 * 2) = 1 of the scored ones; the others stay
    ]


def test_divergence_by_hand_is_cut_at_its_bounds():
    found = divergence(torch.tensor([-1.0, -1, -1, -30, -1]), torch.tensor([-1.0, -2, 0, -1, NAN]))
    assert found.tolist()[:4] == pytest.approx([0, math.exp(-1), math.e - 2, 10]) and found[4].isnan()


@given(score_rows, st.sampled_from([0.2, 0.4, 1.0]), st.sampled_from([0.5, 0.9, 1.0]))
def test_factors_equal_those_of_a_loop_and_have_mean_1_over_the_batch(rows, kept, least):
    score, scored = scores_of(rows)
    found, (factors, masks) = vppo_factors(score, scored, kept, least), by_loop(rows, kept, least)
    assert found.row.tolist() == pytest.approx(factors) and found.kept.tolist() == masks
    live = scored.any(dim=1)
    assert not live.any() or found.row[live].mean().item() == pytest.approx(1)


@given(st.lists(score_rows, min_size=1, max_size=3))
def test_row_factors_of_several_batches_are_those_of_each_alone(batches):
    scored = [scores_of(rows) for rows in batches]
    alone = [row_factor(mean_score(*each), torch.zeros(len(each[0]), dtype=torch.int64)) for each in scored]
    number = torch.arange(len(batches)).repeat_interleave(torch.tensor([len(rows) for rows in batches]))
    together = row_factor(torch.cat([mean_score(*each) for each in scored]), number)
    torch.testing.assert_close(together, torch.cat(alone))


@given(score_rows, st.randoms(use_true_random=False))
def test_factors_do_not_depend_on_the_order_of_rows(rows, random):
    order = list(range(len(rows)))
    random.shuffle(order)
    found, other = vppo_factors(*scores_of(rows)), vppo_factors(*scores_of([rows[i] for i in order]))
    assert other.row.tolist() == pytest.approx(found.row[order].tolist()) and torch.equal(other.kept, found.kept[order])


def test_step_of_the_trainer_multiplies_grpos_advantage(queue, make_trainer):
    steps = [[0.0, 2.0, -1.0], [0.5, 0.0, 0.1], [NAN, NAN, NAN], [1.0, 1.0, 0.0]]
    fields = viewed_fields(steps) | {"uids": "aabb"}
    _, metrics = step_of(queue, make_trainer, "method=vppo", [1.0, 0.0, 0.0, 1.0], [0] * 4, **fields)
    found = torch.stack(queue.fields["advantages"].unbind())
    factors, masks = by_loop([[k3(value) for value in row] for row in steps])
    assert masks[0] == [False, True, True] and masks[2] == [True] * 3
    half = math.sqrt(0.5)
    for row, base in enumerate((half, -half, -half, half)):  # within a question, and the factors over both
        assert found[row].tolist() == pytest.approx([base * factors[row] * at for at in masks[row]], abs=1e-5)
    assert metrics["vppo/factor/mean"] == pytest.approx(1) and metrics["vppo/kept_share"] == pytest.approx(6 / 9)
    assert metrics["vppo/divergence/kept"] > metrics["vppo/divergence/mean"] > 0


def test_penalty_of_entropy_is_asked_for_only_where_it_has_a_weight():
    assert Vppo(compose_config("method=vppo")).update_request() == {}
    request = Vppo(compose_config("method=vppo", "algorithm.vppo.entropy=0.06")).update_request()
    assert request[AUXILIARY]["entropy"] == 0.06 and request[AUXILIARY]["gain"] == 0


def test_request_holds_what_the_engine_needs_of_the_model(model):
    method = Vppo(compose_config("method=vppo", f"actor_rollout_ref.model.path={model.folder}"))
    method.check_model(model.tokenizer, model.processor)
    ((column, view),) = method.log_prob_request()["changed_views"].items()
    assert column == "changed_log_probs" and model.processor.image_token_id in view["visual_token_ids"]
    assert view["view"]["change"] == "squares" and view["layout"][0] == model.processor.image_processor.patch_size


def test_run_without_a_log_prob_pass_is_refused():
    with pytest.raises(ConfigError, match="leaves out the log-prob pass in which algorithm.adv_estimator=vppo"):
        Vppo(compose_config("method=vppo", "algorithm.rollout_correction.bypass_mode=true")).check()


def test_step_without_the_column_is_refused(queue, make_trainer):
    with pytest.raises(ConfigError, match="gave no log-probs under a changed view, which vppo needs"):
        step_of(queue, make_trainer, "method=vppo", [1.0, 0.0], [0, 0])
