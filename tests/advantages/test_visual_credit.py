# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Visual credit: by hand, against a loop over tokens, and changes that must not change a factor."""

from __future__ import annotations

import math
from dataclasses import asdict
from fractions import Fraction
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from verl_mapo.advantages import visual_credit
from verl_mapo.advantages.axpo import AxpoSettings, axpo_groups
from verl_mapo.advantages.groups import group_ids
from verl_mapo.advantages.visual_credit import (
    BOUNDS,
    EQUAL,
    VisualCreditSettings,
    VisualFactors,
    apply_credit,
    token_factor,
    trajectory_factor,
    visual_factors,
)
from verl_mapo.columns import CONTINUATION, PLAIN, SOURCE

NAN = float("nan")


class Row(NamedTuple):
    """One row: each position a score, NAN where no image precedes, or None where the token is not the policy's."""

    uid: str
    scores: list[float | None]
    in_statistics: bool = True


def product(factors: VisualFactors) -> Tensor:
    """(B, L) what an advantage is multiplied by."""
    return factors.token * factors.trajectory.unsqueeze(1)


def make_batch(rows: list[Row], dtype: torch.dtype = torch.float64, width: int | None = None) -> dict[str, Any]:
    width = width or max((len(row.scores) for row in rows), default=0)
    filled = [row.scores + [None] * (width - len(row.scores)) for row in rows]
    score = torch.tensor([[NAN if x is None else x for x in row] for row in filled], dtype=dtype)
    return {
        "score": score,
        "valid": ~score.isnan(),
        "response_mask": torch.tensor([[int(x is not None) for x in row] for row in filled]),
        "group": group_ids([row.uid for row in rows]),
        "in_statistics": torch.tensor([row.in_statistics for row in rows]),
    }


def run(rows: list[Row], dtype: torch.dtype = torch.float64, **options: Any) -> VisualFactors:
    return visual_factors(**make_batch(rows, dtype), settings=VisualCreditSettings(**options))


def minmax(values: list[float]) -> list[float]:
    extent = max(values) - min(values)
    return [(x - min(values)) / extent if extent > EQUAL * max(values) else 0.0 for x in values]


def centred(values: list[float]) -> list[float]:
    return [x - sum(values) / len(values) for x in values]


def by_loop(rows: list[Row], config: VisualCreditSettings) -> tuple[list[list[float]], list[float], list[list[int]]]:
    """Token factors, trajectory factors and gates, token by token."""
    gamma, kappa = Fraction(repr(config.gamma)), Fraction(repr(config.kappa))
    bounds = BOUNDS.get(config.clamp, ((-math.inf, math.inf),) * 2)
    tokens, gates, sums = [], [], []
    for row in rows:
        policy = [at for at, x in enumerate(row.scores) if x is not None]
        scored = [at for at in policy if not math.isnan(row.scores[at])]
        rank = {at: t for t, at in enumerate(policy, start=1)}
        tail = [at for at in scored if rank[at] > (1 - gamma) * len(policy)]
        raised = sorted(tail, key=lambda at: (-row.scores[at], at))[: math.ceil(kappa * len(tail))]
        factor, gate = [1.0] * len(row.scores), [0] * len(row.scores)
        weight = []
        for at in scored:
            gate[at] = int(at in raised)
            weight.append(row.scores[at] * (1 + gate[at] * config.beta * rank[at] / len(policy)))
        spread = minmax(weight) if weight else []
        for at, psi in zip(scored, centred(spread) if weight else [], strict=True):
            factor[at] = min(max(1 + psi, bounds[0][0]), bounds[0][1]) if config.intra else 1.0
        tokens.append(factor)
        gates.append(gate)
        total = {"sum": sum(weight), "mean": sum(weight) / max(1, len(weight)), "official": sum(spread)}
        sums.append(total[config.trajectory_score] if weight else None)
    trajectory = [1.0] * len(rows)
    names = [str(i // 8) if config.group == "official" else row.uid for i, row in enumerate(rows)]
    for name in set(names):
        members = [i for i, row in enumerate(rows) if names[i] == name and sums[i] is not None and row.in_statistics]
        if config.inter and members:
            for i, phi in zip(members, centred(minmax([sums[i] for i in members])), strict=True):
                trajectory[i] = min(max(1 + phi, bounds[1][0]), bounds[1][1])
    return tokens, trajectory, gates


# ---------------------------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"beta": -0.1}, ["beta", "greater than or equal to 0"]),
        ({"beta": NAN}, ["beta", "finite"]),
        ({"gamma": 0.0}, ["gamma", "greater than 0"]),
        ({"kappa": 1.5}, ["kappa", "less than or equal to 1"]),
        ({"intra": False, "inter": False}, ["intra=False", "inter=False", "True"]),
        ({"trajectory_score": "max"}, ["trajectory_score", "mean"]),
        ({"clamp": "hard"}, ["clamp", "symmetric"]),
        ({"sign": "negative_only"}, ["sign", "positive_only"]),
        ({"offset": "cosine"}, ["offset", "half_cosine"]),
        ({"prototype": "first"}, ["prototype", "prompt_only"]),
        ({"position": "next"}, ["position", "predictor"]),
        ({"layer": -2}, ["layer", "greater than or equal to -1"]),
        ({"group": "batch"}, ["group", "uid"]),
        ({"betas": 0.3}, ["betas"]),
    ],
)
def test_invalid_settings_are_refused_with_a_sentence(options: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ValidationError) as refusal:
        VisualCreditSettings(**options)
    for word in words:
        assert word in str(refusal.value)


def test_defaults_are_the_papers_formulas() -> None:
    assert asdict(VisualCreditSettings()) == {
        "enable": False,
        "beta": 0.3,
        "gamma": 0.5,
        "kappa": 0.2,
        "intra": True,
        "inter": True,
        "trajectory_score": "sum",
        "clamp": "none",
        "sign": "both",
        "offset": "half_cosine",
        "prototype": "all_seen",
        "position": "own",
        "layer": -1,
        "group": "uid",
    }


# ------------------------------------------------------------------------------------------------------------ by hand

HAND = [0.2, 0.4, 0.6, 0.5]
"""T = 4; the tail is t = 3, 4 and its highest is t = 3: w_3 = 0.6 (1 + 0.3 * 3/4) = 0.735, the others are rho."""
HAND_SPREAD = [0.0, 0.2 / 0.535, 1.0, 0.3 / 0.535]
HAND_SUM = 0.2 + 0.4 + 0.735 + 0.5


def test_weights_gate_and_token_factor_by_hand() -> None:
    found = run([Row("a", HAND)])
    assert found.gate.tolist() == [[False, False, True, False]]
    assert found.trajectory_score.tolist() == pytest.approx([HAND_SUM])
    mean = sum(HAND_SPREAD) / 4
    assert found.token[0].tolist() == pytest.approx([1 + x - mean for x in HAND_SPREAD])
    assert found.trajectory.tolist() == [1]


def test_trajectory_factor_by_hand() -> None:
    score, member = torch.tensor([1.0, 7.0, 2.0, 4.0]).double(), torch.tensor([True, True, True, True])
    found = trajectory_factor(score, member, torch.tensor([0, 1, 0, 0]), VisualCreditSettings())
    assert found.tolist() == pytest.approx([1 - 4 / 9, 1, 1 + 1 / 3 - 4 / 9, 1 + 1 - 4 / 9])


def test_advantage_is_multiplied_by_both_factors() -> None:
    rows = [Row("a", HAND), Row("a", [0.5, 0.5, None, 0.7])]
    config = VisualCreditSettings()
    found = visual_factors(**make_batch(rows), settings=config)
    assert found.trajectory_score.tolist() == pytest.approx([HAND_SUM, 0.5 + 0.5 + 0.7 * 1.3])
    assert found.trajectory.tolist() == pytest.approx([0.5, 1.5])
    advantages = torch.tensor([[2.0] * 4, [-1.0, -1.0, 0.0, -1.0]]).double()
    credited = apply_credit(advantages, found, config)
    assert torch.equal(credited, advantages * product(found))
    assert credited[1].tolist() == pytest.approx([-1.5 * 2 / 3, -1.5 * 2 / 3, 0, -1.5 * 5 / 3])


def test_positive_only_does_not_change_other_advantages() -> None:
    rows = [Row("a", HAND), Row("a", [0.5, 0.5, None, 0.7])]
    advantages = torch.tensor([[2.0] * 4, [-1.0, -1.0, 0.0, -1.0]]).double()
    config = VisualCreditSettings(sign="positive_only")
    found = visual_factors(**make_batch(rows), settings=config)
    credited = apply_credit(advantages, found, config)
    assert torch.equal(credited[0], advantages[0] * product(found)[0])
    assert torch.equal(credited[1], advantages[1])


@pytest.mark.parametrize(
    ("how", "expected"), [("sum", HAND_SUM), ("mean", HAND_SUM / 4), ("official", sum(HAND_SPREAD))]
)
def test_trajectory_scores_by_hand(how: str, expected: float) -> None:
    assert run([Row("a", HAND)], trajectory_score=how).trajectory_score.tolist() == pytest.approx([expected])


def test_summed_score_grows_with_length_and_mean_does_not() -> None:
    short, long = Row("a", [0.6, 0.5] * 3), Row("a", [0.6, 0.5] * 30)
    assert run([short, long]).trajectory.tolist() == pytest.approx([0.5, 1.5])
    by_mean = run([short, long], trajectory_score="mean", beta=0.0)
    assert by_mean.trajectory.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("clamp", "token", "trajectory"), [("none", (0.01, 1.01), 0.5), ("official", (0.1, 1.01), 0.9)]
)
def test_official_clamps_by_hand(clamp: str, token: tuple[float, float], trajectory: float) -> None:
    found = run([Row("a", [0.5] * 99 + [0.1]), Row("a", [0.9])], clamp=clamp, beta=0.0)
    assert found.token[0, [99, 0]].tolist() == pytest.approx(token)
    other = run([Row("a", [0.5]), Row("a", [0.9])], clamp=clamp)
    assert other.trajectory.tolist() == pytest.approx([trajectory, 1.5])


def test_symmetric_clamps_mirror_the_official_lower_bounds_at_1() -> None:
    for official, symmetric in zip(BOUNDS["official"], BOUNDS["symmetric"], strict=True):
        assert symmetric == pytest.approx((official[0], 2 - official[0]))
    found = run([Row("a", [0.1] * 99 + [0.5]), Row("a", [0.01])], clamp="symmetric", beta=0.0)
    assert found.token.max() == 1.9
    assert found.trajectory.tolist() == [1.1, 0.9]


def test_official_offset_by_hand_depends_on_the_other_rows() -> None:
    one, other = Row("a", [0.5, 0.75, 1.0]), Row("b", [0.1, None, None])
    alone = run([one], offset="official", beta=0.0, inter=False, trajectory_score="mean")
    assert alone.trajectory_score.tolist() == pytest.approx([0.5])  # cosines 0, 0.5, 1
    both = run([one, other], offset="official", beta=0.0, inter=False, trajectory_score="mean")
    assert both.trajectory_score.tolist() == pytest.approx([(0.8 + 1.3 + 1.8) / 3 / 1.8, 0])  # lowest cosine: -0.8


def test_official_groups_are_eight_adjacent_rows() -> None:
    rows = [Row(str(i), [0.1 + i / 100]) for i in range(10)]
    found = run(rows, group="official").trajectory
    assert found[:8].tolist() == pytest.approx([1 + i / 7 - 0.5 for i in range(8)])
    assert found[8:].tolist() == pytest.approx([0.5, 1.5])
    assert run(rows).trajectory.tolist() == [1] * 10


# --------------------------------------------------------------------------------------------------------- edge rules


@pytest.mark.parametrize("intra", [True, False])
def test_row_without_images_has_factor_one_and_enters_no_statistic(intra: bool) -> None:
    with_text = [Row("a", HAND), Row("a", [NAN] * 4), Row("a", [0.9, 0.8]), Row("b", [NAN, None, NAN])]
    found = run(with_text, intra=intra)
    alone = run([with_text[0], with_text[2]], intra=intra)
    assert torch.equal(product(found)[[1, 3]], torch.ones(2, 4).double())
    assert torch.equal(product(found)[[0, 2]], product(alone))
    assert found.visual.tolist() == [True, False, True, False]
    advantages = torch.randn(4, 4, dtype=torch.float64)
    assert torch.equal(apply_credit(advantages, found, VisualCreditSettings())[[1, 3]], advantages[[1, 3]])


def test_without_in_statistics_all_rows_with_an_image_are_compared() -> None:
    batch = make_batch([Row("a", HAND), Row("a", [NAN] * 4), Row("a", [0.9, 0.8])])
    del batch["in_statistics"]
    assert visual_factors(**batch, settings=VisualCreditSettings()).trajectory.tolist() == [0.5, 1, 1.5]


def test_batch_without_images_or_rows_is_handled() -> None:
    assert product(run([Row("a", [NAN, NAN]), Row("a", [None, None])])).tolist() == [[1, 1], [1, 1]]
    batch = make_batch([Row("a", HAND)])
    empty = visual_factors(**{name: part[:0] for name, part in batch.items()}, settings=VisualCreditSettings())
    assert product(empty).shape == (0, 4)


@pytest.mark.parametrize("scores", [[0.7], [None, 0.7], [0.0, 0.0], [0.6, 0.6 + 1e-8, NAN]])
def test_one_token_or_equal_tokens_have_factor_1(scores: list[float | None]) -> None:
    assert (product(run([Row("a", scores)], beta=0.0)) == 1).all()


def test_equal_rollouts_have_factor_1() -> None:
    assert run([Row("a", HAND), Row("a", HAND), Row("a", [*HAND, None])]).trajectory.tolist() == [1, 1, 1]


def test_fewer_than_two_visual_rows_in_a_group_are_not_compared() -> None:
    rows = [Row("a", HAND), Row("a", [NAN, NAN]), Row("b", [0.9]), Row("a", [0.3], in_statistics=False)]
    assert run(rows).trajectory.tolist() == [1, 1, 1, 1]


def test_token_before_the_first_image_has_factor_1_but_counts_in_t_and_in_T() -> None:
    found = run([Row("a", [NAN, NAN, 0.4, 0.6])])
    assert found.token[0, :2].tolist() == [1, 1]
    assert found.trajectory_score.tolist() == pytest.approx([0.4 + 0.6 * 1.3])
    assert found.token[0, 2:].tolist() == pytest.approx([0.5, 1.5])


def test_t_counts_policy_tokens_only() -> None:
    dense, holed = run([Row("a", HAND)]), run([Row("a", [0.2, None, None, 0.4, None, 0.6, 0.5, None])])
    assert torch.equal(holed.token[0, [0, 3, 5, 6]], dense.token[0])
    assert holed.token[0, [1, 2, 4, 7]].tolist() == [1] * 4
    assert torch.equal(holed.trajectory_score, dense.trajectory_score)


def test_gate_passes_exactly_the_first_k_of_equal_scores() -> None:
    scores = [0.9] * 10 + [0.5, 0.7, 0.7, 0.5, 0.7, 0.7, 0.5, 0.5, 0.5, 0.5]
    found = run([Row("a", scores)], kappa=0.3)
    assert found.gate[0].nonzero().squeeze(1).tolist() == [11, 12, 14]
    assert run([Row("a", [0.5] * 40)]).gate[0].nonzero().squeeze(1).tolist() == [20, 21, 22, 23]


@pytest.mark.parametrize("gamma", [0.1, 0.3, 0.5, 0.7, 0.9, 1.0, 1 / 3])
def test_tail_and_k_are_exact_for_every_length(gamma: float) -> None:
    for kappa in (0.07, 0.1, 0.2, 0.3, 0.7, 1.0):
        lengths = list(range(1, 41)) + [100, 200]
        found = run([Row("a", [0.5] * n) for n in lengths], gamma=gamma, kappa=kappa)
        g, k = Fraction(gamma).limit_denominator(100), Fraction(repr(kappa))
        tails = [sum(t > (1 - g) * n for t in range(1, n + 1)) for n in lengths]
        assert found.gate.sum(dim=1).tolist() == [math.ceil(k * tail) for tail in tails]


def test_rows_outside_the_statistics_have_trajectory_factor_1() -> None:
    plain = [Row("a", HAND), Row("a", [0.9, 0.8])]
    found = run([*plain, Row("a", [None, None, 0.4, 0.8], in_statistics=False)])
    assert torch.equal(product(found)[:2], product(run(plain)))
    assert found.trajectory[2] == 1
    assert found.token[2].tolist() == pytest.approx([1, 1, 0.5, 1.5])


def test_continuations_of_one_prefix_can_be_a_group_of_their_own() -> None:
    rows = [Row("a", HAND), Row("a", [0.9, 0.8]), Row("a", [None, 0.4]), Row("a", [None, 0.8])]
    batch = make_batch(rows)
    role = torch.tensor([SOURCE, PLAIN, CONTINUATION, CONTINUATION])
    batch["group"] = axpo_groups(batch["group"], role, torch.tensor([0, -1, 0, 0]), AxpoSettings(continuations=2))
    found = visual_factors(**batch, settings=VisualCreditSettings())
    assert torch.equal(found.trajectory[:2], run(rows[:2]).trajectory)
    assert found.trajectory[2:].tolist() == pytest.approx([0.5, 1.5])


# ---------------------------------------------------------------------------------------------------------- properties

positions = st.one_of(st.none(), st.just(NAN), *[st.integers(0, 16).map(lambda n: n / 16)] * 3)
rows_of = st.builds(Row, st.sampled_from("abc"), st.lists(positions, min_size=1, max_size=24), st.booleans())
batches = st.lists(rows_of, min_size=1, max_size=12)
options = st.fixed_dictionaries(
    {
        "beta": st.sampled_from([0.0, 0.3, 2.0]),
        "gamma": st.sampled_from([0.1, 0.5, 0.7, 1.0]),
        "kappa": st.sampled_from([0.1, 0.2, 0.3, 1.0]),
        "trajectory_score": st.sampled_from(["sum", "mean", "official"]),
        "clamp": st.sampled_from(["none", "official", "symmetric"]),
        "group": st.sampled_from(["uid", "official"]),
    }
)
which = st.sampled_from([{}, {"inter": False}, {"intra": False}])


@given(batches, options, which, st.sampled_from([torch.float64, torch.float32]), st.sampled_from([8, 64, 2**17]))
def test_factors_equal_a_loop_over_tokens(
    rows: list[Row], options: dict[str, Any], which: dict[str, bool], dtype: torch.dtype, chunk: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(visual_credit, "CHUNK", chunk)
        found = run(rows, dtype, **options, **which)
    tokens, trajectory, gates = by_loop(rows, VisualCreditSettings(**options, **which))
    tolerance = 1e-9 if dtype == torch.float64 else 1e-5
    for i, row in enumerate(rows):
        assert found.token[i, : len(row.scores)].tolist() == pytest.approx(tokens[i], abs=tolerance)
        assert found.gate[i, : len(row.scores)].tolist() == gates[i]
        assert (found.token[i, len(row.scores) :] == 1).all()
    assert found.trajectory.tolist() == pytest.approx(trajectory, abs=tolerance)
    assert found.token.dtype == found.trajectory.dtype == dtype


@given(batches, options, st.randoms(use_true_random=False))
def test_factors_do_not_depend_on_row_order_micro_batches_or_width(
    rows: list[Row], options: dict[str, Any], random: Any
) -> None:
    config = VisualCreditSettings(**{**options, "group": "uid"})
    whole = visual_factors(**make_batch(rows), settings=config)
    order = random.sample(range(len(rows)), len(rows))
    shuffled = visual_factors(**make_batch([rows[i] for i in order], width=whole.token.shape[1] + 3), settings=config)
    torch.testing.assert_close(product(shuffled)[:, :-3], product(whole)[order], rtol=0, atol=1e-12)
    for uid in {row.uid for row in rows}:
        mine = [i for i, row in enumerate(rows) if row.uid == uid]
        part = visual_factors(**make_batch([rows[i] for i in mine], width=whole.token.shape[1]), settings=config)
        torch.testing.assert_close(product(part), product(whole)[mine], rtol=0, atol=1e-12)


@given(batches, options)
def test_factors_are_not_negative_and_have_mean_1_in_a_row_and_in_a_group(
    rows: list[Row], options: dict[str, Any]
) -> None:
    batch = make_batch(rows)
    found = visual_factors(**batch, settings=VisualCreditSettings(**{**options, "clamp": "none", "group": "uid"}))
    assert (product(found) >= 0).all()
    for token, valid in zip(found.token, batch["valid"], strict=True):
        assert token[valid].mean().item() == pytest.approx(1) or not valid.any()
    for group in batch["group"].unique():
        assert found.trajectory[batch["group"] == group].mean().item() == pytest.approx(1)


@given(batches, st.sampled_from([-1.0, 7.0, NAN, math.inf]))
def test_invalid_scores_and_other_tokens_are_never_read(rows: list[Row], junk: float) -> None:
    batch = make_batch(rows)
    whole = visual_factors(**batch, settings=VisualCreditSettings())
    batch["score"] = torch.where(batch["valid"], batch["score"], junk)
    batch["valid"] |= batch["response_mask"] == 0
    assert torch.equal(product(visual_factors(**batch, settings=VisualCreditSettings())), product(whole))


@pytest.mark.parametrize("kind", [torch.bool, torch.int8, torch.int64, torch.float32])
def test_response_mask_may_have_any_dtype(kind: torch.dtype) -> None:
    batch = make_batch([Row("a", HAND), Row("a", [0.1, None, 0.3])])
    whole = visual_factors(**batch, settings=VisualCreditSettings())
    batch["response_mask"] = batch["response_mask"].to(kind)
    assert torch.equal(product(visual_factors(**batch, settings=VisualCreditSettings())), product(whole))


def test_no_gradient_is_recorded_and_inputs_are_not_changed() -> None:
    batch = make_batch([Row("a", HAND), Row("a", [0.1, None, 0.3])])
    before = {name: part.clone() for name, part in batch.items()}
    batch["score"].requires_grad_()
    config = VisualCreditSettings()
    found = visual_factors(**batch, settings=config)
    advantages = torch.ones(2, 4, dtype=torch.float64, requires_grad=True)
    assert not any(part.requires_grad for part in (*found, product(found), apply_credit(advantages, found, config)))
    for name, part in batch.items():
        torch.testing.assert_close(part.detach(), before[name], rtol=0, atol=0, equal_nan=True)


def test_stages_can_be_called_one_by_one() -> None:
    rows, config = [Row("a", HAND), Row("a", [0.1, None, 0.3]), Row("a", [NAN])], VisualCreditSettings()
    batch = make_batch(rows)
    tokens = token_factor(batch["score"], batch["valid"], batch["response_mask"], config)
    trajectory = trajectory_factor(tokens.trajectory_score, tokens.visual, batch["group"], config)
    whole = visual_factors(**batch, settings=config)
    assert torch.equal(tokens.factor * trajectory.unsqueeze(1), product(whole))
