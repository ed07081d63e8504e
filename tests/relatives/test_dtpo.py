# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""DTPO: by hand, against a loop over rollouts and tokens, and in a step of the trainer."""

from __future__ import annotations

import math
import statistics

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.tool_credit import step_of
from verl.trainer.ppo.core_algos import agg_loss

from verl_mapo.advantages.groups import EPS
from verl_mapo.relatives.dtpo import DtpoSettings, FirstTurns, dtpo_advantage, outcome_reward, turn_reward
from verl_mapo.rollout.statuses import EndReason, TurnStatus
from verl_mapo.rollout.trajectory import Trajectory, Turn
from verl_mapo.settings import ConfigError
from verl_mapo.tools.coordinates import View

NAN = float("nan")
LENGTH = 4
ONE = torch.zeros(4, dtype=torch.int64)


def f64(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def first_turns(score: list[float], area: list[float], stop: list[int], last: list[int]) -> FirstTurns:
    return FirstTurns(f64(*score), f64(*area), torch.tensor(stop), torch.tensor(last))


@pytest.mark.parametrize(
    ("outcome", "calls", "reward"),
    [
        ([1, 1, 0, 1], [1, 0, 1, 0], [0.9, 1, 0, 1]),
        ([1, 1, 1, 1], [1, 1, 1, 1], [0.9, 0.9, 0.9, 0.9]),
        ([0.5, 1, 0, 0], [1, 1, 0, 0], [0.45, 0.9, 0, 0]),
    ],
)
def test_calls_cost_a_share_of_the_outcome(outcome, calls, reward):
    outcome, calls = f64(*outcome), torch.tensor(calls)
    assert outcome_reward(outcome, calls, outcome == 1, ONE, DtpoSettings()).tolist() == pytest.approx(reward)


def test_right_answers_without_a_call_lose_where_they_are_rare_among_the_right_ones():
    outcome, group = torch.ones(6, dtype=torch.float64), torch.zeros(6, dtype=torch.int64)
    calls = torch.tensor([0, 1, 1, 1, 1, 1])
    found = outcome_reward(outcome, calls, outcome == 1, group, DtpoSettings())
    assert found.tolist() == pytest.approx([0.9, 0.9, 0.9, 0.9, 0.9, 0.9]), "1 of 6 is less than 20 %"
    found = outcome_reward(outcome[:5], calls[:5], outcome[:5] == 1, group[:5], DtpoSettings())
    assert found[0] == 1, "1 of 5 is not"
    wrong = f64(0, 1, 1, 1, 1, 1)
    assert outcome_reward(wrong, calls, wrong == 1, group, DtpoSettings())[0] == 0, "a wrong answer loses nothing"


def test_reward_of_a_turn_by_hand():
    """Mean area of the right crops is 0.2: 0.3 is half too large, 0.8 counts as twice, 0.1 costs nothing."""
    turns = first_turns([0.3, 0.2, 0.25, NAN], [0.3, 0.8, 0.1, NAN], [1] * 4, [0] * 4)
    found = turn_reward(turns, torch.tensor([True, False, True, True]), ONE, DtpoSettings())
    assert found.tolist() == pytest.approx([0.1 - 0.2 * 0.5, -0.2, 0.1, 0])
    nobody = turn_reward(turns, torch.zeros(4, dtype=torch.bool), ONE, DtpoSettings())
    assert nobody.tolist() == pytest.approx([0.1, 0, 0.1, 0]), "without a right rollout no area is too large"


def test_advantage_by_hand():
    """R = 1, 0 with calls: R' = 0.9, 0. Turns: r = 0.1 - 0.2 * 0 and 0. One token before the last turn, three in it."""
    turns = first_turns([0.3, 0.1], [NAN, NAN], [1, 2], [1, 2])
    mask = torch.tensor([[1, 0, 1, 1], [0, 0, 1, 0]])
    found = dtpo_advantage(f64(1, 0), torch.tensor([1, 1]), turns, mask, ONE[:2], DtpoSettings())
    out, turn = 0.45 / (0.9 / math.sqrt(2) + EPS), 0.05 / (0.1 / math.sqrt(2) + EPS)
    earlier, last = 0.5 * 4 / 1, 4 / 3
    assert found.advantages.tolist() == [
        pytest.approx([earlier * (out + 0.3 * turn), 0, last * out, last * out]),
        pytest.approx([0, 0, -last * out, 0]),
    ]
    assert found.grounded.tolist() == [True, False] and found.judged.all()
    plain = dtpo_advantage(f64(1, 0), torch.tensor([1, 1]), turns, mask, ONE[:2], DtpoSettings(by_turn=False))
    assert plain.advantages[0].tolist() == pytest.approx([out + 0.3 * turn, 0, out, out])


def test_a_rollout_without_a_token_in_the_loss_changes_nothing():
    """The turns of the others have rewards 0.1 and 0, so that A_turn is 1 and -1 over the root of 2."""
    turns = first_turns([0.3, 0.1, 0.3], [NAN] * 3, [1] * 3, [0] * 3)
    mask, outcome = torch.tensor([[1, 1], [1, 1], [0, 0]]), f64(1, 0, 1)
    found = dtpo_advantage(outcome, torch.ones(3), turns, mask, ONE[:3], DtpoSettings())
    assert found.a_turn.tolist() == pytest.approx([math.sqrt(0.5), -math.sqrt(0.5), 0], abs=1e-4)
    two = FirstTurns(*(each[:2] for each in turns))
    fewer = dtpo_advantage(outcome[:2], torch.ones(2), two, mask[:2], ONE[:2], DtpoSettings())
    assert torch.equal(found.advantages[:2], fewer.advantages) and not found.advantages[2].any()


rows = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.5, 1.0]),
        st.integers(0, 2),
        st.sampled_from([NAN, 0.1, 0.25, 0.6]),
        st.sampled_from([NAN, 0.1, 0.25, 0.6]),
        st.integers(0, 2),
        st.integers(1, LENGTH),
        st.lists(st.integers(0, 1), min_size=LENGTH, max_size=LENGTH),
    ),
    min_size=1,
    max_size=10,
)


def by_loop(drawn, s: DtpoSettings) -> list[list[float]]:
    """Eq. 1 to 4, a token at a time, in plain Python; the first turn ends where the last one begins."""

    def norm(value, values):
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        return 0.0 if spread < 1e-5 else (value - statistics.fmean(values)) / (spread + EPS)

    def reward(row, right):
        outcome, calls = drawn[row][:2]
        direct = [other for other in right if drawn[other][1] == 0]
        if calls:
            return 0.9 * outcome
        return outcome - s.direct_cost * (row in right and len(direct) / len(right) < s.direct_share)

    def turn(row, right):
        score, area = drawn[row][2:4]
        areas = [drawn[other][3] for other in right if not math.isnan(drawn[other][3])]
        excess = 0.0 if math.isnan(area) or not areas else min(max(area / statistics.fmean(areas) - 1, 0), 1)
        return s.grounding * (score >= s.grounded_from) - s.area * excess

    tokens = [(row, t) for row, values in enumerate(drawn) for t in range(LENGTH) if values[6][t]]
    before = sum(t < drawn[row][5] for row, t in tokens)
    found = [[0.0] * LENGTH for _ in drawn]
    for row, t in tokens:
        peers = [other for other, values in enumerate(drawn) if any(values[6]) and values[4] == drawn[row][4]]
        right = [other for other in peers if drawn[other][0] == 1]
        looked = [other for other in peers if not math.isnan(drawn[other][2])]
        value = norm(reward(row, right), [reward(other, right) for other in peers])
        if t < drawn[row][5] and row in looked:
            value += s.weight * norm(turn(row, right), [turn(other, right) for other in looked])
        factor = s.earlier_weight * len(tokens) / before if t < drawn[row][5] else len(tokens) / (len(tokens) - before)
        found[row][t] = value * factor
    return found


@given(rows)
def test_advantage_equals_that_of_a_loop(drawn):
    outcome, calls, score, area, group, last, mask = map(list, zip(*drawn, strict=True))
    turns = first_turns(score, area, last, last)
    group = torch.tensor(group)
    found = dtpo_advantage(f64(*outcome), torch.tensor(calls), turns, torch.tensor(mask), group, DtpoSettings())
    expected = by_loop(drawn, DtpoSettings())
    assert found.advantages.tolist() == [pytest.approx(row, abs=1e-5) for row in expected]


def test_verls_mean_over_tokens_of_the_advantages_is_equation_4():
    """At ratio 1, verl's loss is minus the mean over tokens of the advantage, times the gradient of the log-prob."""
    torch.manual_seed(0)
    gradient, mask = torch.randn(3, LENGTH).double(), torch.tensor([[1, 1, 0, 1], [1, 0, 1, 1], [0, 1, 1, 1]])
    turns = first_turns([NAN] * 3, [NAN] * 3, [2, 3, 0], [2, 3, 0])
    outcome, calls, group = f64(1, 0, 0), torch.tensor([1, 1, 0]), ONE[:3]
    weighted, plain = (
        dtpo_advantage(outcome, calls, turns, mask, group, DtpoSettings(by_turn=by_turn)).advantages
        for by_turn in (True, False)
    )
    loss = agg_loss(-weighted * gradient, mask, "token-mean").item()
    earlier = (torch.arange(LENGTH) < turns.last[:, None]) & (mask == 1)
    late = ~earlier & (mask == 1)
    each = -plain * gradient
    assert loss == pytest.approx(0.5 * each[earlier].mean().item() + each[late].mean().item())


def zoomed(score: float | None, region: tuple[int, int, int, int] | None) -> Trajectory:
    view = region and View(0, region, 0, (region[2] - region[0], region[3] - region[1]))
    call = Turn((0, 2), "x", TurnStatus.OK, tool="zoom", view=view, described=True, score=score)
    return Trajectory(["a"], [(10, 10)], [call, Turn((3, 4), "y")], EndReason.ANSWER)


def test_first_turns_are_read_from_trajectories():
    direct = Trajectory(["a"], [(10, 10)], [Turn((0, 4), "y")], EndReason.ANSWER)
    found = FirstTurns.of([zoomed(0.3, (0, 0, 5, 5)), zoomed(0.0, None), zoomed(None, (0, 0, 5, 5)), direct, None])
    assert found.score.nan_to_num(-1).tolist() == [0.3, 0, -1, -1, -1]
    assert found.area.nan_to_num(-1).tolist() == [0.25, -1, -1, -1, -1]
    assert found.stop.tolist() == [2, 2, 2, 4, 0] and found.last.tolist() == [3, 3, 3, 0, 0]


def test_step_of_the_trainer_writes_advantages_metrics_and_records(queue, make_trainer):
    rollouts = [zoomed(0.3, (0, 0, 5, 5)), zoomed(0.1, (0, 0, 10, 10)), zoomed(0.3, (0, 0, 5, 5))]
    trainer, metrics = step_of(queue, make_trainer, "method=dtpo", [1.0, 0.0, 0.0], [1, 1, 1], rollouts, LENGTH)
    turns = FirstTurns.of(rollouts)
    args = (f64(1, 0, 0), torch.tensor([1, 1, 1]), turns, torch.ones(3, LENGTH), ONE[:3], DtpoSettings())
    expected = dtpo_advantage(*args)
    found = torch.stack(queue.fields["advantages"].unbind())
    assert torch.allclose(found.double(), expected.advantages, atol=1e-5)
    assert metrics["dtpo/grounded_share"] == pytest.approx(2 / 3) and metrics["dtpo/called_share"] == 1
    record = trainer.methods[0].records(trainer.last_step)[0]
    assert record["adapted_reward"] == pytest.approx(0.9) and record["a_turn"] > 0 and record["a_out"] > 0


def test_loss_that_averages_over_rollouts_is_refused(make_trainer):
    mode = "actor_rollout_ref.actor.loss_agg_mode=seq-mean-token-mean"
    with pytest.raises(ConfigError, match=r"seq-mean-token-mean averages .*: set .*=token-mean, or .*by_turn=false"):
        make_trainer("method=dtpo", mode).methods[0].check()
    make_trainer("method=dtpo", mode, "algorithm.dtpo.by_turn=false").methods[0].check()


def test_advantage_of_the_first_turn_needs_a_scorer_unless_its_weight_is_0(make_trainer):
    unscored = "reward.description_alignment.scorer.kind=none"
    with pytest.raises(ConfigError, match=r"kind=none scores nothing, which algorithm.dtpo.weight=0.3 needs"):
        make_trainer("method=dtpo", unscored).methods[0].check()
    make_trainer("method=dtpo", unscored, "algorithm.dtpo.weight=0").methods[0].check()
