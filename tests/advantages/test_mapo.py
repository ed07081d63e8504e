# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The MAPO advantage: by hand, against a slow reference, against GRPO, and on a toy with a known gradient."""

from __future__ import annotations

import itertools
import math
import statistics
from dataclasses import asdict
from typing import Any, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from verl_mapo.advantages.groups import EPS, group_ids, group_normalise, grpo_advantage
from verl_mapo.advantages.mapo import (
    Aggregation,
    Coupling,
    MapoAdvantage,
    MapoSettings,
    NoTool,
    aggregate,
    mapo_advantage,
)

NAN = float("nan")


# ---------------------------------------------------------------------------------------------- a batch, for the tests


def make_batch(
    rollouts: list[tuple[str, float, list[float | None]]], length: int = 12, dtype: torch.dtype = torch.float64
) -> dict[str, Any]:
    """Rollouts (uid, outcome, scores; None is unscored) whose turn t has tokens 2t, 2t+1 and whose answer follows them.

    Each turn is one policy token and one observation token; the answer is one token; the rest is padding.
    """
    turns = max(1, *(len(scores) for _, _, scores in rollouts))
    rows = len(rollouts)
    batch = {
        "outcome": torch.tensor([outcome for _, outcome, _ in rollouts], dtype=dtype),
        "turn_scores": torch.full((rows, turns), NAN, dtype=dtype),
        "turn_status": torch.zeros((rows, turns), dtype=torch.int8),
        "turn_spans": torch.full((rows, turns, 2), -1),
        "response_mask": torch.zeros((rows, length), dtype=torch.int64),
        "group": group_ids([uid for uid, _, _ in rollouts]),
    }
    for row, (_, _, scores) in enumerate(rollouts):
        for turn, score in enumerate(scores):
            batch["turn_status"][row, turn] = 2 if score is None else 1
            batch["turn_scores"][row, turn] = NAN if score is None else score
            batch["turn_spans"][row, turn] = torch.tensor([2 * turn, 2 * turn + 1])
            batch["response_mask"][row, 2 * turn] = 1
        batch["response_mask"][row, 2 * len(scores)] = 1
    return batch


def run(batch: dict[str, Any], norm_by_std: bool = True, **options: Any) -> MapoAdvantage:
    return mapo_advantage(**batch, settings=MapoSettings(**options), norm_by_std=norm_by_std)


def per_rollout(result: MapoAdvantage, batch: dict[str, Any]) -> list[float]:
    """The advantage of each row, after checking that all its policy tokens share it and no other token has any."""
    mask = batch["response_mask"].bool()
    value = result.advantages.abs().max(dim=1).values * result.advantages.sum(dim=1).sign()
    assert torch.equal(result.advantages, torch.where(mask, value.unsqueeze(1), 0.0))
    return value.tolist()


def norm(values: list[float], floor: float = 0.0) -> list[float]:
    """groupnorm of one group, by hand."""
    scale = max(statistics.stdev(values), floor) + EPS
    return [(value - statistics.fmean(values)) / scale for value in values]


# ---------------------------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"coupling": "convex", "beta": 1.5}, ["convex", "beta=1.5", "at most 1"]),
        ({"credit": "turn", "coupling": "reward_sum"}, ["reward_sum", "credit='turn'", "advantage_sum"]),
        ({"credit": "turn", "no_tool": "zero"}, ["no_tool='zero'", "neutral"]),
        ({"beta": -0.1}, ["beta", "greater than or equal to 0"]),
        ({"beta": NAN}, ["beta", "finite"]),
        ({"discount": 0.0}, ["discount", "greater than 0"]),
        ({"discount": 1.01}, ["discount", "less than or equal to 1"]),
        ({"min_std": 0.0}, ["min_std", "greater than 0"]),
        ({"max_unscored": 1.5}, ["max_unscored", "less than or equal to 1"]),
        ({"aggregation": "median"}, ["aggregation", "discounted_mean"]),
        ({"lambda_": 0.9}, ["lambda_"]),
    ],
)
def test_invalid_settings_are_refused_with_a_sentence(options: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ValidationError) as refusal:
        MapoSettings(**options)
    for word in words:
        assert word in str(refusal.value)


def test_defaults_are_those_that_readers_report() -> None:
    assert asdict(MapoSettings()) == {
        "beta": 0.4,
        "discount": 0.95,
        "aggregation": "discounted_mean",
        "coupling": "advantage_sum",
        "no_tool": "neutral",
        "credit": "trajectory",
        "min_std": 0.01,
        "max_unscored": 0.5,
    }


# ------------------------------------------------------------------------------------------------------- aggregation


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("discounted_mean", [(0.2 + 0.5 * 0.4 + 0.25 * 0.8) / 1.75, (0.2 + 0.25 * 0.8) / 1.25, 0.8, 0.3]),
        ("mean", [1.4 / 3, 0.5, 0.8, 0.3]),
        ("sum", [1.4, 1.0, 0.8, 0.3]),
        ("length_discounted", [0.25 * 1.4 / 3, 0.25 * 0.5, 0.5 * 0.8, 0.3]),
        ("late", [(0.25 * 0.2 + 0.5 * 0.4 + 0.8) / 1.75, (0.25 * 0.2 + 0.8) / 1.25, 0.8, 0.3]),
    ],
)
def test_aggregations_by_hand(how: Aggregation, expected: list[float]) -> None:
    batch = make_batch([("a", 0, [0.2, 0.4, 0.8]), ("a", 0, [0.2, None, 0.8]), ("a", 0, [None, 0.8]), ("a", 0, [0.3])])
    alignment, has_score = aggregate(batch["turn_scores"], batch["turn_status"], 0.5, how)
    assert alignment.tolist() == pytest.approx(expected)
    assert has_score.all()


@pytest.mark.parametrize("how", get_args(Aggregation))
def test_rollout_without_scores_has_no_alignment(how: Aggregation) -> None:
    batch = make_batch([("a", 0, []), ("a", 0, [None, None])])
    alignment, has_score = aggregate(batch["turn_scores"], batch["turn_status"], 0.95, how)
    assert alignment.tolist() == [0, 0]
    assert has_score.tolist() == [False, False]


@pytest.mark.parametrize("how", ["discounted_mean", "mean", "late"])
def test_equal_scores_give_the_same_alignment_for_any_number_of_turns(how: Aggregation) -> None:
    batch = make_batch([("a", 0, [0.3] * turns) for turns in range(1, 6)], length=16)
    alignment, _ = aggregate(batch["turn_scores"], batch["turn_status"], 0.9, how)
    assert alignment.tolist() == pytest.approx([0.3] * 5)


# ---------------------------------------------------------------------------------------------------------- couplings

GROUP = [("a", 1.0, [0.30]), ("a", 0.0, [0.20]), ("a", 1.0, [0.26]), ("a", 0.0, [0.28])]
OUTCOMES, SCORES = [1.0, 0.0, 1.0, 0.0], [0.30, 0.20, 0.26, 0.28]


def expected_of(coupling: Coupling, beta: float) -> list[float]:
    a_out, a_sem = norm(OUTCOMES), norm(SCORES)
    if coupling == "advantage_sum":
        return [out + beta * sem for out, sem in zip(a_out, a_sem, strict=True)]
    if coupling == "convex":
        return [(1 - beta) * out + beta * sem for out, sem in zip(a_out, a_sem, strict=True)]
    if coupling == "reward_sum":
        return norm([outcome + beta * score for outcome, score in zip(OUTCOMES, SCORES, strict=True)])
    right = norm([SCORES[0], SCORES[2]])
    return [out + beta * sem for out, sem in zip(a_out, [right[0], 0.0, right[1], 0.0], strict=True)]


@pytest.mark.parametrize("coupling", get_args(Coupling))
@pytest.mark.parametrize("beta", [0.0, 0.4, 1.0])
def test_couplings_by_hand(coupling: Coupling, beta: float) -> None:
    batch = make_batch(GROUP)
    result = run(batch, coupling=coupling, beta=beta)
    assert per_rollout(result, batch) == pytest.approx(expected_of(coupling, beta))
    assert result.a_out.tolist() == pytest.approx(norm(OUTCOMES))
    assert result.alignment.tolist() == pytest.approx(SCORES)


def test_without_division_by_std_both_parts_are_only_centred() -> None:
    batch = make_batch(GROUP)
    result = run(batch, norm_by_std=False)
    expected = [r - 0.5 + 0.4 * (s - 0.26) for r, s in zip(OUTCOMES, SCORES, strict=True)]
    assert per_rollout(result, batch) == pytest.approx(expected)


# ------------------------------------------------------------------------------------------- no tool, unscored, padding

LOOKS = [("a", 0.0, [0.2]), ("a", 1.0, [0.4]), ("a", 1.0, [0.3])]


@pytest.mark.parametrize(
    ("no_tool", "a_sem"),
    [
        ("neutral", [*norm([0.2, 0.4, 0.3]), 0.0]),
        ("zero", norm([0.2, 0.4, 0.3, 0.0])),
        ("group_mean", norm([0.2, 0.4, 0.3, 0.3])),
    ],
)
def test_rollout_without_visual_turn_is_treated_as_no_tool_says(no_tool: NoTool, a_sem: list[float]) -> None:
    batch = make_batch([*LOOKS, ("a", 1.0, [])])
    result = run(batch, no_tool=no_tool)
    assert result.a_sem.tolist() == pytest.approx(a_sem, abs=1e-12)
    a_out = norm([0.0, 1.0, 1.0, 1.0])
    expected = [out + 0.4 * sem for out, sem in zip(a_out, a_sem, strict=True)]
    assert per_rollout(result, batch) == pytest.approx(expected)


def test_group_mean_raises_the_scored_rollouts_advantages() -> None:
    batch = make_batch([*LOOKS, ("a", 1.0, [])])
    neutral, filled = run(batch), run(batch, no_tool="group_mean")
    assert filled.a_sem[0].abs() > neutral.a_sem[0].abs()
    assert filled.a_sem[3].abs() < 1e-9


@pytest.mark.parametrize(
    ("no_tool", "rewards"),
    [
        ("neutral", [0.08, 1.16, 1.12, 1.12]),
        ("zero", [0.08, 1.16, 1.12, 1.0]),
        ("group_mean", [0.08, 1.16, 1.12, 1.12]),
    ],
)
def test_reward_sum_treats_a_rollout_without_visual_turn_as_no_tool_says(no_tool: NoTool, rewards: list[float]) -> None:
    batch = make_batch([*LOOKS, ("a", 1.0, [])])
    result = run(batch, no_tool=no_tool, coupling="reward_sum")
    assert per_rollout(result, batch) == pytest.approx(norm(rewards))


@pytest.mark.parametrize("no_tool", get_args(NoTool))
def test_group_without_visual_turns_has_the_outcome_advantage_only(no_tool: NoTool) -> None:
    batch = make_batch([("a", 1.0, []), ("a", 0.0, []), ("a", 0.0, [])])
    result = run(batch, no_tool=no_tool)
    assert per_rollout(result, batch) == pytest.approx(norm([1.0, 0.0, 0.0]))
    assert result.semantic_counted.tolist() == result.semantic_floored.tolist() == [False]


@pytest.mark.parametrize("coupling", get_args(Coupling))
@pytest.mark.parametrize("no_tool", get_args(NoTool))
def test_unscored_turn_does_not_count_as_a_score_of_zero(coupling: Coupling, no_tool: NoTool) -> None:
    """Flip the last rollout's only turn from zero to unscored: the zero is punished, the unscored is left in peace."""
    options = {"coupling": coupling, "no_tool": no_tool, "min_std": 1e-4}
    looks = [(uid, 1.0, scores) for uid, _, scores in LOOKS]
    punished = run(make_batch([*looks, ("a", 1.0, [0.0])]), **options)
    spared = run(make_batch([*looks, ("a", 1.0, [None])]), **options)
    assert punished.a_sem[3] < -1
    assert spared.a_sem[3] == 0
    assert punished.advantages[3, 0] < -0.1
    assert spared.advantages[3].abs().max() < 1e-9
    assert spared.a_sem[:3].tolist() == pytest.approx(norm([0.2, 0.4, 0.3]), abs=1e-6)
    assert spared.has_alignment.tolist() == [True, True, True, False]


def test_unscored_turn_does_not_change_the_weights_of_the_others() -> None:
    result = run(make_batch([("a", 1.0, [0.2, None, 0.4]), ("a", 1.0, [0.3])]), discount=0.5)
    assert result.alignment[0].item() == pytest.approx((0.2 + 0.25 * 0.4) / 1.25)


every_option = pytest.mark.parametrize(
    "options",
    [
        {"aggregation": how, "coupling": coupling, "no_tool": no_tool}
        for how, coupling, no_tool in itertools.product(get_args(Aggregation), get_args(Coupling), get_args(NoTool))
    ]
    + [{"credit": "turn", "coupling": coupling} for coupling in ("advantage_sum", "convex", "gated")],
    ids=lambda options: "-".join(options.values()),
)


@every_option
def test_values_at_unscored_turns_are_never_read(options: dict[str, Any]) -> None:
    batch = make_batch([*LOOKS, ("a", 1.0, [None, 0.1]), ("b", 1.0, [None]), ("b", 1.0, []), ("b", 0.0, [0.2])])
    clean = dict(batch, turn_scores=batch["turn_scores"].nan_to_num(7.0))
    assert batch["turn_scores"].isnan().any()
    for dirty_field, clean_field in zip(run(batch, **options), run(clean, **options), strict=True):
        assert dirty_field.isfinite().all()
        assert torch.equal(dirty_field, clean_field)


@every_option
def test_padding_rows_have_advantage_zero_and_enter_no_statistic(options: dict[str, Any]) -> None:
    rollouts = [*LOOKS, ("a", 1.0, []), ("b", 1.0, [0.2]), ("b", 0.0, [0.3, 0.1])]
    padding = [("a", 9.0, [5.0, 5.0]), ("b", -9.0, []), ("pad", 1.0, [0.3])]
    plain, padded = make_batch(rollouts), make_batch(rollouts + padding)
    padded["response_mask"][len(rollouts) :] = 0
    expected, result = run(plain, **options), run(padded, **options)
    assert (result.advantages[len(rollouts) :] == 0).all()
    assert (result.a_out[len(rollouts) :] == 0).all() and (result.a_sem[len(rollouts) :] == 0).all()
    assert not result.has_alignment[len(rollouts) :].any() and not result.alignment[len(rollouts) :].any()
    assert torch.allclose(result.advantages[: len(rollouts)], expected.advantages, atol=1e-12)
    for field in ("outcome_counted", "outcome_flat", "semantic_counted", "semantic_floored"):
        assert getattr(result, field).tolist() == [*getattr(expected, field).tolist(), False]


def test_response_that_begins_with_an_observation_is_not_padding() -> None:
    batch = make_batch([("a", 1.0, [0.2]), ("a", 0.0, [0.3])])
    batch["response_mask"] = batch["response_mask"].roll(1, dims=1)
    assert (run(batch).advantages != 0).equal(batch["response_mask"].bool())


# --------------------------------------------------------------------------------------------- small and flat groups


@pytest.mark.parametrize("coupling", get_args(Coupling))
def test_rollout_without_a_peer_has_no_advantage(coupling: Coupling) -> None:
    """In a group of one, and in one whose other rows have no token in the loss."""
    alone, last = make_batch([("a", 1.0, [0.3])]), make_batch([("a", 1.0, [0.3]), ("a", 0.0, [0.1])])
    last["response_mask"][1] = 0
    for batch in (alone, last):
        result = run(batch, coupling=coupling)
        assert result.advantages.eq(0).all() and result.a_sem.eq(0).all()
        assert not result.outcome_counted.any() and not result.semantic_counted.any()


def test_only_scored_rollout_of_a_group_has_no_semantic_advantage() -> None:
    result = run(make_batch([("a", 1.0, [0.9]), ("a", 0.0, []), ("a", 1.0, [None])]))
    assert result.a_sem.tolist() == [0, 0, 0]
    assert result.semantic_counted.tolist() == [False]


def test_floor_applies_to_the_scores_of_turns_and_not_to_outcomes() -> None:
    """Both spreads are below 0.01: that of the scores is raised to it, that of the outcomes is not."""
    batch = make_batch([("a", 0.500, [0.250]), ("a", 0.504, [0.251])])
    by_rollout, by_turn = run(batch), run(batch, credit="turn")
    for result in (by_rollout, by_turn):
        assert result.a_out.tolist() == pytest.approx([-math.sqrt(0.5), math.sqrt(0.5)], abs=1e-3)
        assert result.a_sem.tolist() == pytest.approx([-0.05, 0.05], abs=1e-4)
        assert result.semantic_floored.tolist() == [True]
    expected = [math.sqrt(0.5) + 0.4 * 0.05, 0, math.sqrt(0.5)]
    assert by_turn.advantages[1, :3].tolist() == pytest.approx(expected, abs=1e-3), "turn, observation, answer"


def test_floor_keeps_noise_small_and_is_reported() -> None:
    batch = make_batch([("a", 0.0, [0.250]), ("a", 0.0, [0.251]), ("b", 0.0, [0.2]), ("b", 0.0, [0.3]), ("c", 1.0, [])])
    result = run(batch)
    assert result.semantic_floored.tolist() == [True, False, False]
    assert result.semantic_counted.tolist() == [True, True, False]
    assert result.outcome_flat.tolist() == [True, True, False]
    assert result.outcome_counted.tolist() == [True, True, False]
    assert result.a_sem[:4].tolist() == pytest.approx([-0.05, 0.05, -math.sqrt(0.5), math.sqrt(0.5)], abs=1e-4)


def test_floor_under_reward_sum_is_in_units_of_the_score() -> None:
    batch = make_batch(
        [("a", 0.0, [0.250]), ("a", 0.0, [0.251]), ("b", 0.0, [0.2]), ("b", 0.0, [0.3])] + [("c", 0.0, [])] * 2
    )
    result = run(batch, coupling="reward_sum")
    expected = [*norm([0.1, 0.1004], floor=0.004), *norm([0.08, 0.12], floor=0.004), 0, 0]
    assert per_rollout(result, batch) == pytest.approx(expected)
    assert result.semantic_floored.tolist() == [True, False, False]


def test_all_wrong_group_has_a_semantic_advantage_unless_gated() -> None:
    batch = make_batch([("a", 0.0, [0.2]), ("a", 0.0, [0.3])])
    assert (run(batch).advantages != 0).any()
    assert (run(batch, coupling="gated").advantages == 0).all()


@given(st.integers(2, 64), st.floats(0, 1, width=32), st.sampled_from(get_args(Coupling)), st.booleans())
def test_group_of_equal_fractional_rewards_and_scores_has_no_advantage(
    size: int, value: float, coupling: Coupling, by_std: bool
) -> None:
    batch = make_batch([("a", value, [value])] * size, dtype=torch.float32)
    result = run(batch, norm_by_std=by_std, coupling=coupling)
    assert result.advantages.eq(0).all() and result.outcome_flat.all()


# ------------------------------------------------------------------------------------------------------- credit: turn


def test_credit_by_turn_by_hand() -> None:
    batch = make_batch([("a", 1.0, [0.1, 0.2]), ("a", 0.0, [0.5, None]), ("a", 0.0, [])], length=6)
    result = run(batch, credit="turn", beta=0.5)
    a_out, z = norm([1.0, 0.0, 0.0]), norm([0.1, 0.2, 0.5])
    assert result.advantages.tolist() == [
        pytest.approx([a_out[0] + 0.5 * z[0], 0, a_out[0] + 0.5 * z[1], 0, a_out[0], 0]),
        pytest.approx([a_out[1] + 0.5 * z[2], 0, a_out[1], 0, a_out[1], 0]),
        pytest.approx([a_out[2], 0, 0, 0, 0, 0]),
    ]
    assert result.a_sem.tolist() == pytest.approx([(z[0] + z[1]) / 2, z[2], 0])


def test_credit_by_turn_with_the_other_couplings() -> None:
    batch = make_batch([("a", 1.0, [0.1, 0.2]), ("a", 0.0, [0.5])], length=6)
    a_out, z, right = norm([1.0, 0.0]), norm([0.1, 0.2, 0.5]), norm([0.1, 0.2])
    convex = run(batch, credit="turn", coupling="convex", beta=0.25).advantages
    gated = run(batch, credit="turn", coupling="gated", beta=0.25).advantages
    assert convex[0, [0, 2, 4]].tolist() == pytest.approx([0.75 * a_out[0] + 0.25 * v for v in (z[0], z[1], 0)])
    assert gated[0, [0, 2, 4]].tolist() == pytest.approx([a_out[0] + 0.25 * v for v in (right[0], right[1], 0)])
    assert gated[1, [0, 2]].tolist() == pytest.approx([a_out[1]] * 2)


def test_spans_may_be_adjacent_and_cut_by_the_end_of_the_response() -> None:
    batch = make_batch([("a", 1.0, [0.1, 0.2]), ("a", 1.0, [0.5])], length=6)
    batch["response_mask"] = torch.ones(2, 6, dtype=torch.int64)
    batch["turn_spans"] = torch.tensor([[[1, 3], [3, 9]], [[0, 2], [-1, -1]]])
    z = norm([0.1, 0.2, 0.5])
    result = run(batch, credit="turn", beta=1.0)
    assert result.advantages.tolist() == [
        pytest.approx([0, z[0], z[0], z[1], z[1], z[1]]),
        pytest.approx([z[2], z[2], 0, 0, 0, 0]),
    ]


# A toy. Before each of two looks the policy goes on with probability p[t] = sigmoid(theta[t]), else it stops and
# answers. All answers are equally right. What an estimator makes of theta is summed over every possible group.

GO_ON = (0.6, 0.35)


def toy(
    groups_of: int, quality: tuple[float, float], noise: float
) -> tuple[dict[str, Any], torch.Tensor, torch.Tensor]:
    """Every group of rollouts the toy policy can produce, as one batch.

    Returns:
        the batch; (rows,) the probability of each row's group; (rows, 12, 2) the gradient of the log-probability of the
        decision at each position by theta.
    """
    paths: list[tuple[float, list[float]]] = [(1 - GO_ON[0], [])]
    for first in (-noise, noise):
        paths.append((GO_ON[0] / 2 * (1 - GO_ON[1]), [quality[0] + first]))
        for second in (-noise, noise):
            paths.append((GO_ON[0] * GO_ON[1] / 4, [quality[0] + first, quality[1] + second]))
    rollouts, weights = [], []
    for number, members in enumerate(itertools.product(paths, repeat=groups_of)):
        rollouts += [(str(number), 1.0, scores) for _, scores in members]
        weights += [math.prod(chance for chance, _ in members)] * groups_of
    batch = make_batch(rollouts)
    score_function = torch.zeros(len(rollouts), 12, 2, dtype=torch.float64)
    for row, (_, _, scores) in enumerate(rollouts):
        for look in range(len(scores)):
            score_function[row, 2 * look, look] = 1 - GO_ON[look]
        if len(scores) < 2:
            score_function[row, 2 * len(scores), len(scores)] = -GO_ON[len(scores)]
    return batch, torch.tensor(weights, dtype=torch.float64), score_function


def per_index_sum(batch: dict[str, Any]) -> torch.Tensor:
    """The naive turn credit: GRPO's norm per (uid, turn index), summed over the rollout, on all its tokens."""
    turns = batch["turn_scores"].shape[1]
    group = batch["group"].unsqueeze(1) * turns + torch.arange(turns)
    scored = (batch["turn_status"] == 1).flatten()
    norm = group_normalise(batch["turn_scores"].flatten(), group.flatten(), scored, min_std=0.01)
    alone = scored & ~norm.counted[group.flatten()]
    z = torch.where(alone, batch["turn_scores"].flatten(), norm.value)  # GRPO's convention for a group of one
    return z.view_as(batch["turn_scores"]).sum(dim=1, keepdim=True) * batch["response_mask"]


def expected_gradient(advantages: torch.Tensor, weights: torch.Tensor, score_function: torch.Tensor) -> list[float]:
    return torch.einsum("r,rl,rlt->t", weights, advantages, score_function).tolist()


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_turns_of_equal_quality_do_not_change_the_number_of_turns(noise: float) -> None:
    batch, *rest = toy(groups_of=3, quality=(0.3, 0.3), noise=noise)
    by_turn = expected_gradient(run(batch, credit="turn").advantages, *rest)
    by_trajectory = expected_gradient(run(batch).advantages, *rest)
    naive = expected_gradient(per_index_sum(batch), *rest)
    summed = expected_gradient(run(batch, aggregation="sum").advantages, *rest)
    assert by_turn == pytest.approx([0, 0], abs=1e-12)
    assert by_trajectory == pytest.approx([0, 0], abs=1e-12)
    assert min(naive) > 0.01
    assert summed[1] > 0.01


def test_shared_probability_of_another_turn_has_gradient_zero_in_every_group() -> None:
    batch, _, _ = toy(groups_of=3, quality=(0.4, 0.1), noise=0.05)
    advantages = run(batch, credit="turn").advantages
    assert advantages.view(-1, 3 * advantages.shape[1]).sum(dim=1).abs().max() < 1e-12


def test_gradient_of_credit_by_turn_equals_the_derivation() -> None:
    """A group with exactly the policy's frequencies: the gradient is that of E[sum_t (s_t - c)], c the mean look."""
    go_on, quality = (0.5, 0.5), (0.3, 0.2)
    looks = [[], [], [], [], [0.3], [0.3], [0.3, 0.2], [0.3, 0.2]]
    batch = make_batch([("a", 1.0, scores) for scores in looks])
    advantages = run(batch, norm_by_std=False, credit="turn", beta=1.0).advantages
    mean_look = (4 * 0.3 + 2 * 0.2) / 6
    estimate = [(advantages[:, 2 * t] * (1 - go_on[t])).sum().item() / 8 for t in range(2)]
    claimed = [
        go_on[0] * (1 - go_on[0]) * (quality[0] - mean_look),
        go_on[0] * go_on[1] * (1 - go_on[1]) * (quality[1] - mean_look),
    ]
    assert estimate == pytest.approx(claimed)
    assert claimed[1] < 0


# ------------------------------------------------------------------------------------------------ GRPO, with beta = 0


eighths = st.integers(-8, 8).map(lambda n: n / 8)


@given(st.lists(st.tuples(st.sampled_from("abcd"), eighths), min_size=1, max_size=20), st.booleans(), st.booleans())
def test_beta_zero_is_grpo(rows: list[tuple[str, float]], by_std: bool, by_turn: bool) -> None:
    batch = make_batch([(uid, value, [0.1 * (i % 3)] * (i % 4)) for i, (uid, value) in enumerate(rows)])
    expected = grpo_advantage(batch["outcome"], batch["response_mask"], batch["group"], by_std=by_std)
    for coupling in ["advantage_sum", "convex", "gated"] + ["reward_sum"] * (not by_turn):
        credit = "turn" if by_turn else "trajectory"
        result = run(batch, norm_by_std=by_std, beta=0.0, coupling=coupling, credit=credit)
        assert torch.allclose(result.advantages, expected, atol=1e-9)


# ------------------------------------------------------------------------------------------- against a slow reference


@st.composite
def cases(draw: st.DrawFn) -> tuple[dict[str, Any], MapoSettings, bool]:
    """A batch with every kind of row, and settings."""
    score = st.one_of(st.none(), st.integers(0, 64).map(lambda n: n / 64))
    outcome = st.one_of(st.sampled_from([0.0, 1.0]), eighths)
    rollout = st.tuples(st.sampled_from("abc"), outcome, st.lists(score, max_size=3))
    batch = make_batch(draw(st.lists(rollout, min_size=1, max_size=10)))
    for row in range(len(batch["outcome"])):
        if draw(st.integers(0, 5)) == 0:
            batch["response_mask"][row] = 0
    credit = draw(st.sampled_from(["trajectory", "turn"]))
    couplings = [name for name in get_args(Coupling) if credit == "trajectory" or name != "reward_sum"]
    config = MapoSettings(
        beta=draw(st.sampled_from([0.0, 0.4, 1.0])),
        discount=draw(st.sampled_from([0.5, 0.95, 1.0])),
        aggregation=draw(st.sampled_from(get_args(Aggregation))),
        coupling=draw(st.sampled_from(couplings)),
        no_tool=draw(st.sampled_from(get_args(NoTool))) if credit == "trajectory" else "neutral",
        credit=credit,
        min_std=draw(st.sampled_from([0.01, 0.1])),
    )
    return batch, config, draw(st.booleans())


def slow_norm(values: dict[Any, float], group: dict[Any, int], by_std: bool, floor: float) -> dict:
    """Normalise named values within their groups, one at a time."""
    done = {}
    for key, value in values.items():
        mine = [other for name, other in values.items() if group[name] == group[key]]
        if len(mine) == 1:
            done[key] = 0.0
        else:
            done[key] = (value - statistics.fmean(mine)) / (max(statistics.stdev(mine), floor) + EPS if by_std else 1)
    return done


def slow_alignment(scores: list[float | None], config: MapoSettings) -> float | None:
    """S of one rollout, from the formulas."""
    turns = len(scores)
    scored = [(t, s) for t, s in enumerate(scores, start=1) if s is not None]
    if not scored:
        return None
    mean = sum(s for _, s in scored) / len(scored)
    weight = {
        t: config.discount ** (t - 1 if config.aggregation == "discounted_mean" else turns - t) for t, _ in scored
    }
    weighted = sum(weight[t] * s for t, s in scored) / sum(weight.values())
    return {
        "discounted_mean": weighted,
        "late": weighted,
        "mean": mean,
        "sum": sum(s for _, s in scored),
        "length_discounted": config.discount ** (turns - 1) * mean,
    }[config.aggregation]


def slow_mapo(batch: dict[str, Any], config: MapoSettings, by_std: bool) -> torch.Tensor:
    """The advantages (B, L), a rollout at a time."""
    rows = [i for i in range(len(batch["outcome"])) if batch["response_mask"][i].any()]
    group = {i: int(batch["group"][i]) for i in rows}
    outcome = {i: batch["outcome"][i].item() for i in rows}
    scores = {
        i: [
            s.item() if status == 1 else None
            for s, status in zip(batch["turn_scores"][i], batch["turn_status"][i], strict=True)
            if status != 0
        ]
        for i in rows
    }
    may = [i for i in rows if config.coupling != "gated" or outcome[i] >= 1]
    a_out = slow_norm(outcome, group, by_std, 0.0)
    keep = 1 - config.beta if config.coupling == "convex" else 1
    advantages = torch.zeros(batch["response_mask"].shape, dtype=torch.float64)
    for i in rows:
        advantages[i] = keep * a_out[i]
    if config.credit == "turn":
        turns = {(i, t): s for i in may for t, s in enumerate(scores[i]) if s is not None}
        z = slow_norm(turns, {key: group[key[0]] for key in turns}, by_std, config.min_std)
        for (i, t), value in z.items():
            start, end = batch["turn_spans"][i, t].tolist()
            advantages[i, start:end] += config.beta * value
        return advantages * batch["response_mask"]
    alignment = {i: slow_alignment(scores[i], config) for i in may}
    alignment = {i: s for i, s in alignment.items() if s is not None}
    if config.no_tool != "neutral":
        known = dict(alignment)
        for i in may:
            peers = [s for j, s in known.items() if group[j] == group[i]]
            if not scores[i] and config.no_tool == "zero":
                alignment[i] = 0.0
            elif not scores[i] and peers:
                alignment[i] = statistics.fmean(peers)
    if config.coupling == "reward_sum":
        reward = {}
        for i in rows:
            peers = [s for j, s in alignment.items() if group[j] == group[i]]
            mean = statistics.fmean(peers) if peers else 0.0
            reward[i] = outcome[i] + config.beta * alignment.get(i, mean)
        total = slow_norm(reward, group, by_std, config.beta * config.min_std)
        for i in rows:
            advantages[i] = total[i]
    else:
        for i, value in slow_norm(alignment, group, by_std, config.min_std).items():
            advantages[i] += config.beta * value
    return advantages * batch["response_mask"]


@settings(max_examples=400)
@given(cases())
def test_result_equals_a_slow_reference_loop(case: tuple[dict[str, Any], MapoSettings, bool]) -> None:
    batch, config, by_std = case
    result = mapo_advantage(**batch, settings=config, norm_by_std=by_std)
    assert torch.allclose(result.advantages, slow_mapo(batch, config, by_std), atol=1e-7)
    assert (result.advantages[batch["response_mask"] == 0] == 0).all()
    assert not (result.semantic_floored & ~result.semantic_counted).any()


@given(cases(), st.randoms(use_true_random=False))
def test_result_does_not_depend_on_row_order_or_uid_names(
    case: tuple[dict[str, Any], MapoSettings, bool], random
) -> None:
    batch, config, by_std = case
    order = list(range(len(batch["outcome"])))
    random.shuffle(order)
    shuffled = {name: column[order] for name, column in batch.items()}
    shuffled["group"] = group_ids([f"renamed-{7 - number}" for number in shuffled["group"].tolist()])
    plain = mapo_advantage(**batch, settings=config, norm_by_std=by_std)
    other = mapo_advantage(**shuffled, settings=config, norm_by_std=by_std)
    for field in ("advantages", "a_out", "a_sem", "alignment"):
        assert torch.allclose(getattr(plain, field)[order], getattr(other, field), atol=1e-7)
    assert plain.semantic_floored.sum() == other.semantic_floored.sum()


# ------------------------------------------------------------------------------------------- dtypes, devices, gradients

devices = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]


@pytest.mark.parametrize("device", devices)
@pytest.mark.parametrize("mask_dtype", [torch.int64, torch.bool, torch.float32])
@pytest.mark.parametrize("credit", ["trajectory", "turn"])
def test_float32_and_float64_agree(device: str, mask_dtype: torch.dtype, credit: str) -> None:
    rollouts = [*LOOKS, ("b", 1.0, [0.25, None]), ("b", 0.0, [0.31]), ("c", 1.0, [])]
    exact = run(make_batch(rollouts), credit=credit)
    batch = {name: column.to(device) for name, column in make_batch(rollouts, dtype=torch.float32).items()}
    batch["response_mask"] = batch["response_mask"].to(mask_dtype)
    batch["outcome"].requires_grad_()
    result = run(batch, credit=credit)
    assert exact.advantages.dtype == torch.float64
    assert result.advantages.dtype == result.a_sem.dtype == torch.float32
    assert result.advantages.device.type == device
    assert not result.advantages.requires_grad
    assert torch.allclose(result.advantages.cpu().double(), exact.advantages, atol=1e-5)


@pytest.mark.parametrize("credit", ["trajectory", "turn"])
def test_mask_of_the_outcomes_dtype_is_not_changed(credit: str) -> None:
    batch = make_batch(LOOKS)
    batch["response_mask"] = batch["response_mask"].to(batch["outcome"].dtype)
    before = batch["response_mask"].clone()
    assert run(batch, credit=credit).advantages.abs().max() > 0
    assert torch.equal(batch["response_mask"], before)


@pytest.mark.parametrize("credit", ["trajectory", "turn"])
def test_batch_with_zero_turns_has_the_outcome_advantage_only(credit: str) -> None:
    batch = make_batch([("a", 1.0, []), ("a", 0.0, [])])
    for name in ("turn_scores", "turn_status", "turn_spans"):
        batch[name] = batch[name][:, :0]
    result = run(batch, credit=credit)
    assert result.advantages[:, 0].tolist() == pytest.approx(norm([1.0, 0.0]))
