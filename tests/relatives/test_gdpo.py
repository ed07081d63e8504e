# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""GDPO: by hand, against a loop over rollouts, beside GRPO and MAPO, and in a step of the trainer."""

from __future__ import annotations

import math
import statistics
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.scripted import compose_config
from support.tool_credit import NO_LOSS, step_of

from verl_mapo.advantages.groups import EPS, grpo_advantage
from verl_mapo.advantages.mapo import MapoSettings, mapo_advantage
from verl_mapo.relatives.gdpo import Gdpo, GdpoSettings, gdpo_advantage
from verl_mapo.rollout.statuses import EndReason, LabelFault, TurnStatus
from verl_mapo.rollout.trajectory import Trajectory, Turn
from verl_mapo.settings import ConfigError

NAN = float("nan")
A = 0.5 / (math.sqrt(1 / 3) + EPS)
"""Advantage of the larger of two values one apart, each held by two of four rollouts."""


def advantage_of(terms: dict[str, list], weights: dict[str, float], group=None, masks=None, **settings):
    count = len(next(iter(terms.values())))
    group, masks = torch.tensor(group or [0] * count), torch.tensor(masks or [[1, 1]] * count)
    values = {name: torch.tensor(values, dtype=torch.float64) for name, values in terms.items()}
    return gdpo_advantage(values, masks, group, GdpoSettings(reward_terms=weights, **settings))


def test_terms_are_normalised_by_themselves_weighed_and_divided_by_the_spread_of_the_batch():
    terms = {"outcome": [1, 0, 1, 0], "calls": [4, 4, 0, 0]}
    found = advantage_of(terms, {"outcome": 1, "calls": -0.5})
    assert found.of_term["outcome"].tolist() == pytest.approx([A, -A, A, -A])
    assert found.of_term["calls"].tolist() == pytest.approx([A, A, -A, -A], abs=1e-5), "whatever the size of a term"
    sums = [0.5 * A, -1.5 * A, 1.5 * A, -0.5 * A]
    spread = math.sqrt(5 / 3) * A
    assert found.advantages[:, 0].tolist() == pytest.approx([value / spread for value in sums], abs=1e-5)
    plain = advantage_of(terms, {"outcome": 1, "calls": -0.5}, whiten=False)
    assert plain.advantages[:, 1].tolist() == pytest.approx(sums, abs=1e-5)
    grpo = advantage_of(terms, {"outcome": 1, "calls": -0.5}, whiten=False, normalise="sum")
    assert grpo.advantages[:, 0].tolist() == pytest.approx(
        [value / math.sqrt(5 / 3) for value in (-0.5, -1.5, 1.5, 0.5)], abs=1e-5
    ), "of the sums -1, -2, 1 and 0"


def test_terms_that_cancel_leave_no_advantage_to_be_scaled_up():
    found = advantage_of({"outcome": [0, 0.5], "x": [3, 0.1]}, {"outcome": 1, "x": 1})
    assert found.advantages.abs().max() < 2e-4


def test_pairs_whose_sums_look_alike_to_grpo_are_told_apart():
    """The paper's example: (0, 0) against (1, 0) is one step apart, (0, 0) against (1, 1) two."""
    terms = {"outcome": [0, 1, 0, 1], "format": [0, 0, 0, 1]}
    weights, group = {"outcome": 1, "format": 1}, [0, 0, 1, 1]
    half = math.sqrt(0.5)
    each = advantage_of(terms, weights, group, whiten=False).advantages[:, 0].tolist()
    assert each == pytest.approx([-half, half, -2 * half, 2 * half], abs=1e-5)
    summed = advantage_of(terms, weights, group, whiten=False, normalise="sum").advantages[:, 0].tolist()
    assert summed == pytest.approx([-half, half, -half, half], abs=1e-5)


def test_rollout_without_a_term_has_none_of_its_advantage_and_is_no_zero_to_the_others():
    found = advantage_of({"alignment": [0.4, 0.2, NAN]}, {"alignment": 1}, whiten=False)
    assert found.advantages[:, 0].tolist() == pytest.approx([math.sqrt(0.5), -math.sqrt(0.5), 0], abs=1e-4)
    summed = advantage_of({"alignment": [0.4, 0.2, NAN]}, {"alignment": 1}, whiten=False, normalise="sum")
    assert summed.advantages[:, 0].tolist() == pytest.approx([1, -1, 0], abs=1e-4), "the missing one counts as the mean"


def by_loop(drawn, weights, s: GdpoSettings) -> list[float]:
    """Eq. 1 to 3, a rollout at a time, in plain Python."""

    def norm(value, values):
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        return 0.0 if spread < 1e-5 else (value - statistics.fmean(values)) / (spread + EPS)

    live = [row for row, (*_, mask) in enumerate(drawn) if any(mask)]
    found = [0.0] * len(drawn)
    for row in live:
        peers = [other for other in live if drawn[other][2] == drawn[row][2]]
        for term, weight in enumerate(weights):
            have = [drawn[other][term] for other in peers if not math.isnan(drawn[other][term])]
            if not math.isnan(drawn[row][term]):
                found[row] += weight * norm(drawn[row][term], have)
    spread = statistics.stdev(found[row] for row in live) if len(live) > 1 else 0.0
    return [value / max(spread, s.min_std) if s.whiten else value for value in found]


rollout = st.tuples(
    st.sampled_from([0.0, 0.5, 1.0]),
    st.sampled_from([NAN, 0.1, 0.2, 3.0]),
    st.integers(0, 2),
    st.sampled_from([[1, 1], [1, 1], [0, 1], NO_LOSS]),
)


@given(st.lists(rollout, min_size=1, max_size=12), st.sampled_from([(1.0, 1.0), (1.0, -0.3)]), st.booleans())
def test_advantage_equals_that_of_a_loop(drawn, weights, whiten):
    outcome, other, group, masks = map(list, zip(*drawn, strict=True))
    terms, given_weights = {"outcome": outcome, "x": other}, dict(zip(("outcome", "x"), weights, strict=True))
    found = advantage_of(terms, given_weights, group, masks, whiten=whiten)
    expected = torch.tensor(by_loop(drawn, weights, GdpoSettings(whiten=whiten))).unsqueeze(1) * torch.tensor(masks)
    assert torch.allclose(found.advantages, expected.float(), atol=2e-4)


@given(st.lists(rollout, min_size=1, max_size=12), st.sampled_from(["each", "sum"]))
def test_one_term_without_the_spread_of_the_batch_is_grpo(drawn, normalise):
    outcome, _, group, masks = map(list, zip(*drawn, strict=True))
    found = advantage_of({"outcome": outcome}, {"outcome": 1}, group, masks, whiten=False, normalise=normalise)
    expected = grpo_advantage(torch.tensor(outcome).double(), torch.tensor(masks), torch.tensor(group))
    assert torch.allclose(found.advantages.double(), expected, atol=1e-5)


def test_two_terms_without_the_spread_of_the_batch_are_mapos_sum_without_its_floor():
    score = torch.tensor([[0.3], [0.2], [0.25], [NAN]], dtype=torch.float64)
    outcome, group = torch.tensor([1.0, 0, 0, 1], dtype=torch.float64), torch.zeros(4).long()
    status, spans = torch.tensor([[1], [1], [1], [0]]), torch.zeros(4, 1, 2).long()
    settings = MapoSettings(beta=0.4, aggregation="mean", min_std=1e-9)
    mapo = mapo_advantage(outcome, score, status, spans, torch.ones(4, 2), group, settings)
    terms = {"outcome": outcome.tolist(), "alignment": score[:, 0].tolist()}
    found = advantage_of(terms, {"outcome": 1, "alignment": 0.4}, whiten=False)
    assert torch.allclose(found.advantages.double(), mapo.advantages, atol=1e-5)


def ended(*turns: Turn, reason: EndReason = EndReason.ANSWER) -> Trajectory:
    return Trajectory([], [], [*turns, Turn((1, 3), "y")], reason)


def zoomed(score: float | None, status: TurnStatus = TurnStatus.OK, *faults: LabelFault) -> Turn:
    return Turn((0, 1), "x", status, tool="zoom", described=True, score=score, faults=list(faults))


def test_step_of_the_trainer_writes_advantages_metrics_and_records(queue, make_trainer):
    rollouts = [
        ended(zoomed(0.3)),
        ended(zoomed(0.1, TurnStatus.OK, LabelFault.NO_LABEL)),
        ended(zoomed(None, TurnStatus.BAD_BOX)),
        ended(reason=EndReason.RESPONSE_LENGTH),
    ]
    outcomes = [1.0, 0.0, 0.0, 1.0]
    trainer, metrics = step_of(queue, make_trainer, "method=gdpo", outcomes, [1, 1, 1, 0], rollouts)
    terms = {"outcome": outcomes, "format": [1, 0, 0, 0], "alignment": [0.3, 0.1, NAN, NAN]}
    expected = advantage_of(terms, dict.fromkeys(terms, 1.0)).advantages[:, 0]
    assert [row[0].item() for row in queue.fields["advantages"].unbind()] == pytest.approx(expected.tolist(), abs=1e-5)
    assert metrics["gdpo/format/mean"] == 0.25 and metrics["gdpo/alignment/known_share"] == 0.5
    assert metrics["gdpo/outcome/spread_share"] == 1 and "gdpo/calls/mean" not in metrics
    record = trainer.methods[0].records(trainer.last_step)[2]["reward_terms"]
    assert record["alignment"] == {"value": None, "advantage": 0.0}
    assert record["outcome"] == {"value": 0.0, "advantage": pytest.approx(-A)}


def test_terms_of_a_reward_function_are_read_by_name():
    method = Gdpo(compose_config("method=gdpo", "reward.custom_reward_function.path=mine.py"))
    returned = [{"reward_extra_info": {"acc": 1.0, "brevity": True}}, {"reward_extra_info": {"brevity": None}}]
    returned.append({"reward_extra_info": {"brevity": 5.0}})  # of a rollout without an outcome
    step = SimpleNamespace(extra_fields=returned, judged=torch.tensor([True, True, False]), number=3)
    assert method.term(step, "brevity").nan_to_num(-1).tolist() == [1, -1, -1]
    with pytest.raises(ConfigError, match=r"reward_terms.charm names no term of any rollout of step 3: they have acc"):
        method.term(step, "charm")
    returned[0]["reward_extra_info"]["charm"] = "much"
    with pytest.raises(ConfigError, match=r"reward_terms.charm has the value 'much', which is no finite number"):
        method.term(step, "charm")
    for value in (torch.ones(2), np.ones(2), 10**400, NAN):  # what float() or isfinite() cannot take
        returned[0]["reward_extra_info"]["charm"] = value
        with pytest.raises(ConfigError, match=r"reward_terms.charm has the value .*, which is no finite number"):
            method.term(step, "charm")
    returned[1]["reward_extra_info"]["format"] = 0.5
    with pytest.raises(ConfigError, match=r"returns another one of that name: let it return my_format, and set"):
        method.term(step, "format")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["+algorithm.gdpo.reward_terms.fromat=1"], r"reward_terms.fromat=1.0 names no term .*; did you mean format: "),
        (["reward.description_alignment.scorer.kind=none"], r"kind=none scores nothing, .*reward_terms.alignment=1.0"),
        (["reward.reward_manager.name=naive"], r"name=naive gives no alignment scores, .*reward_terms.alignment=1.0"),
        (["+algorithm.gdpo_reward_keys=[brevity]"], r"remove it, and set .*\+algorithm.gdpo.reward_terms.brevity=1"),
    ],
)
def test_terms_that_no_rollout_would_have_are_refused_at_the_start(overrides, message):
    with pytest.raises(ConfigError, match=message):
        Gdpo(compose_config("method=gdpo", *overrides)).check()


def test_every_term_but_the_number_of_calls_has_the_weight_1_by_default():
    assert GdpoSettings().reward_terms == {"outcome": 1, "format": 1, "alignment": 1, "calls": 0}


def test_terms_with_weight_0_are_left_out_and_need_nothing():
    overrides = ["algorithm.gdpo.reward_terms.alignment=0", "reward.description_alignment.scorer.kind=none"]
    method = Gdpo(compose_config("method=gdpo", *overrides))
    method.check()
    assert method.settings.weights == {"outcome": 1, "format": 1}
    with pytest.raises(ConfigError, match="it should have a weight other than 0"):
        Gdpo(
            compose_config(
                "method=gdpo", *(f"algorithm.gdpo.reward_terms.{name}=0" for name in method.settings.reward_terms)
            )
        )


def test_row_of_the_lens_follows_the_scores_and_its_placebo_does_not():
    rows = Gdpo.lens_rows()
    one = torch.ones(6, dtype=torch.int64)
    rollouts = SimpleNamespace(
        outcome=torch.zeros(6),
        turn_scores=torch.tensor([[0.1], [0.2], [0.3], [0.4], [0.5], [0.6]]),
        turn_status=one.unsqueeze(1),
        group=0 * one,
    )
    weights = rows[0].weights(rollouts, torch.Generator())
    assert (weights.diff() > 0).all() and rows[1].placebo == rows[0].name == "gdpo"
