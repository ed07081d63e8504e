# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The AXPO advantage: by hand, the notes' worked values, against a slow reference, against verl's GRPO."""

from __future__ import annotations

import statistics
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from verl_mapo.advantages.axpo import (
    AxpoAdvantage,
    AxpoSettings,
    axpo_advantage,
    axpo_groups,
    grpo_base,
    loss_masks,
    recovered_prefixes,
)
from verl_mapo.advantages.groups import EPS, group_ids
from verl_mapo.advantages.mapo import MapoSettings, mapo_advantage
from verl_mapo.columns import CONTINUATION, PLAIN, SOURCE

NAN = float("nan")
LENGTH = 8


# ---------------------------------------------------------------------------------------------- a batch, for the tests


class Row(NamedTuple):
    """One row; ``mask`` is its response mask as rolled out, padded with 0 to LENGTH."""

    uid: str
    outcome: float
    role: int = PLAIN
    prefix_id: int = -1
    prefix_length: int = 0
    mask: str = "110011"


def source(uid: str, prefix_id: int, outcome: float = 0.0, mask: str = "1110011") -> Row:
    return Row(uid, outcome, SOURCE, prefix_id, 2, mask)


def resamples(uid: str, prefix_id: int, outcomes: list[float], mask: str = "0010011") -> list[Row]:
    return [Row(uid, outcome, CONTINUATION, prefix_id, 2, mask) for outcome in outcomes]


def question(uid: str, n: int, right: int, retried: dict[int, list[float]]) -> list[Row]:
    """A triggered question: its last ``right`` rollouts are right; ``retried``: source -> outcomes of its resamples."""
    rows = [
        source(uid, number) if number in retried else Row(uid, float(number >= n - right), mask="1111")
        for number in range(n)
    ]
    return rows + [row for number, outcomes in retried.items() for row in resamples(uid, number, outcomes)]


def make_batch(rows: list[Row], dtype: torch.dtype = torch.float64) -> dict[str, torch.Tensor]:
    return {
        "outcome": torch.tensor([row.outcome for row in rows], dtype=dtype),
        "response_mask": torch.tensor([[int(bit) for bit in row.mask.ljust(LENGTH, "0")] for row in rows]),
        "group": group_ids([row.uid for row in rows]),
        "role": torch.tensor([row.role for row in rows], dtype=torch.int8),
        "prefix_id": torch.tensor([row.prefix_id for row in rows]),
        "prefix_length": torch.tensor([row.prefix_length for row in rows]),
    }


def masks_of(batch: dict[str, torch.Tensor], config: AxpoSettings) -> tuple[torch.Tensor, torch.Tensor]:
    columns = {name: batch[name] for name in ("outcome", "response_mask", "group", "role", "prefix_id")}
    recovered = recovered_prefixes(**columns)
    return loss_masks(batch["response_mask"], recovered, batch["role"], batch["prefix_length"], config)


def base_of(batch: dict[str, torch.Tensor], config: AxpoSettings, norm_by_std: bool = True) -> torch.Tensor:
    groups = axpo_groups(batch["group"], batch["role"], batch["prefix_id"], config)
    return grpo_base(batch["outcome"], masks_of(batch, config)[0], groups, config, norm_by_std)


def run(
    batch: dict[str, torch.Tensor], norm_by_std: bool = True, outcome_weight: float = 1.0, **options: Any
) -> AxpoAdvantage:
    """The whole of AXPO over GRPO."""
    config = AxpoSettings(**options)
    base = base_of(batch, config, norm_by_std)
    columns = dict(batch, response_mask=masks_of(batch, config)[0])
    return axpo_advantage(**columns, base=base, settings=config, norm_by_std=norm_by_std, outcome_weight=outcome_weight)


def norm(values: list[float], correction: int = 1) -> list[float]:
    """groupnorm of one group, by hand."""
    scale = (statistics.stdev(values) if correction else statistics.pstdev(values)) + EPS
    return [(value - statistics.fmean(values)) / scale for value in values]


# ---------------------------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"alignment": True, "std": "population"}, ["alignment=True", "sample"]),
        ({"continuations": 1}, ["continuations", "greater than or equal to 2"]),
        ({"ratio": 0.0}, ["ratio", "greater than 0"]),
        ({"ratio": NAN}, ["ratio", "finite"]),
        ({"prefix_rank": "thinking"}, ["prefix_rank", "confidence"]),
        ({"unrecovered_source": "drop"}, ["unrecovered_source", "mask"]),
        ({"k": 4}, ["k"]),
    ],
)
def test_invalid_settings_are_refused_with_a_sentence(options: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ValidationError) as refusal:
        AxpoSettings(**options)
    for word in words:
        assert word in str(refusal.value)


def test_defaults_are_those_of_the_paper() -> None:
    assert asdict(AxpoSettings()) == {
        "continuations": 4,
        "ratio": 0.25,
        "prefix_rank": "confidence",
        "fix_prefix": True,
        "prefix_credit": True,
        "separate_group": True,
        "unrecovered_source": "mask",
        "allocation": "breadth_first",
        "std": "sample",
        "alignment": False,
    }


@pytest.mark.parametrize("questions", [2, 3, 64, 513])
def test_default_budget_is_half_a_prefix_per_question(questions: int) -> None:
    assert AxpoSettings().slots(questions * 8) == questions // 2


@pytest.mark.parametrize(
    ("ratio", "n_rollouts", "continuations", "expected"),
    [(0.29, 200, 2, 29), (0.1, 30, 3, 1), (0.7, 40, 4, 7), (1.1, 30, 3, 11), (1e-4, 40000, 4, 1), (2, 4, 4, 2)],
)
def test_slots_are_exact_for_decimal_ratios(ratio: float, n_rollouts: int, continuations: int, expected: int) -> None:
    assert AxpoSettings(ratio=ratio, continuations=continuations).slots(n_rollouts) == expected


def test_budget_below_one_slot_gives_no_slot() -> None:
    assert [AxpoSettings().slots(n_rollouts) for n_rollouts in (0, 8, 15, 16, 31, 32)] == [0, 0, 0, 1, 1, 2]


@given(st.integers(0, 400), st.integers(2, 16), st.integers(1, 400))
def test_slots_use_the_budget_up_to_less_than_one_prefix(n_rollouts: int, k: int, percent: int) -> None:
    slots = AxpoSettings(continuations=k, ratio=percent / 100).slots(n_rollouts)
    assert 100 * k * slots <= percent * n_rollouts < 100 * k * (slots + 1)


# ------------------------------------------------------------------------------------------------ the worked numbers


@pytest.mark.parametrize(
    ("right", "population", "sample"),
    [(0, 2.65, 2.47), (1, 1.73, 1.62), (2, 1.29, 1.21), (3, 1.00, 0.94), (4, 0.775, 0.725)],
)
def test_prefix_of_a_recovered_source_among_eight_has_eq_5(right: int, population: float, sample: float) -> None:
    batch = make_batch(question("a", 8, right, {0: [0.0, 1.0, 0.0, 0.0]}))
    for std, expected in (("population", population), ("sample", sample)):
        result = run(batch, std=std)
        assert result.advantages[0].tolist() == pytest.approx([expected, expected, 0, 0, 0, 0, 0, 0], abs=0.005)
        assert result.a_prefix[0].item() == result.advantages[0, 0].item()


@pytest.mark.parametrize(
    ("right", "population", "sample"),
    [
        (0, (0, 0), (0, 0)),
        (1, (1.73, -0.58), (1.5, -0.5)),
        (2, (1, -1), (0.87, -0.87)),
        (3, (0.58, -1.73), (0.5, -1.5)),
        (4, (0, 0), (0, 0)),
    ],
)
def test_continuations_of_one_prefix_have_eq_3(
    right: int, population: tuple[float, float], sample: tuple[float, float]
) -> None:
    outcomes = [1.0] * right + [0.0] * (4 - right)
    batch = make_batch(question("a", 8, 2, {0: outcomes}))
    for std, (good, bad) in (("population", population), ("sample", sample)):
        advantages = run(batch, std=std).advantages[8:]
        for row, outcome in zip(advantages, outcomes, strict=True):
            at = good if outcome else bad
            assert row.tolist() == pytest.approx([0, 0, at, 0, 0, at, at, 0], abs=0.005)


# ------------------------------------------------------------------------------------------------------ who sees what


@pytest.mark.parametrize("by_std", [True, False])
@pytest.mark.parametrize("unrecovered_source", ["mask", "grpo"])
def test_plain_rollouts_equal_grpo_bit_for_bit(by_std: bool, unrecovered_source: str) -> None:
    rows = question("a", 8, 2, {0: [1.0, 0.0], 3: [0.0, 0.0]}) + question("b", 5, 0, {1: [1.0, 1.0]})
    rows += [Row("c", 1.0), Row("c", 0.0), Row("d", 1.0)]
    original = [row._replace(role=PLAIN, prefix_id=-1, prefix_length=0) for row in rows if row.role != CONTINUATION]
    plain = torch.tensor([row.role == PLAIN for row in rows])
    plain_of_original = torch.tensor([row.role == PLAIN for row in rows if row.role != CONTINUATION])
    expected = run(make_batch(original), norm_by_std=by_std).advantages
    result = run(make_batch(rows), norm_by_std=by_std, unrecovered_source=unrecovered_source)
    assert torch.equal(result.advantages[plain], expected[plain_of_original])
    assert (result.a_prefix[plain] == 0).all() and not result.recovered[plain].any()


@pytest.mark.parametrize("by_std", [True, False])
@pytest.mark.parametrize("name", ["compute_grpo_outcome_advantage", "compute_grpo_vectorized_outcome_advantage"])
def test_advantages_of_plain_rows_and_continuations_equal_verls_grpo(name: str, by_std: bool) -> None:
    core_algos = pytest.importorskip("verl.trainer.ppo.core_algos")
    rows = question("a", 8, 2, {0: [1.0, 0.0, 0.0, 1.0], 3: [0.0] * 4}) + question("b", 5, 0, {1: [1.0, 0.0]})
    rows += [Row("c", 0.25), Row("c", 0.5), Row("c", 1.0)]
    batch = make_batch(rows, dtype=torch.float32)
    result, mask = run(batch, norm_by_std=by_std), masks_of(batch, AxpoSettings())[0]
    rewards = torch.zeros(len(rows), LENGTH)
    rewards[:, -1] = batch["outcome"]
    for pick, uids in [
        ([i for i, row in enumerate(rows) if row.role != CONTINUATION], lambda row: row.uid),
        ([i for i, row in enumerate(rows) if row.role == CONTINUATION], lambda row: (row.uid, row.prefix_id)),
    ]:
        index = np.array([str(uids(rows[i])) for i in pick], dtype=object)
        estimate = getattr(core_algos, name)
        expected, _ = estimate(rewards[pick], mask[pick], index, norm_adv_by_std_in_grpo=by_std)
        compared = torch.tensor([rows[i].role != SOURCE for i in pick])
        assert result.advantages.dtype == expected.dtype == torch.float32
        assert torch.allclose(result.advantages[pick][compared], expected[compared], atol=1e-6)


def test_two_prefixes_of_a_question_each_replace_only_their_own_reward() -> None:
    batch = make_batch(question("a", 8, 1, {0: [1.0, 0.0], 1: [0.0, 1.0], 2: [0.0, 0.0]}))
    result = run(batch, std="population")
    assert result.a_prefix[:3].tolist() == pytest.approx([1.7320, 1.7320, norm([0.0] * 7 + [1.0], 0)[0]], abs=1e-4)
    assert result.recovered.tolist() == [True, True] + [False] * 12


def test_equal_prefix_ids_of_different_questions_are_different_prefixes() -> None:
    batch = make_batch(question("a", 4, 1, {0: [0.0, 0.0]}) + question("b", 4, 1, {0: [1.0, 0.0]}))
    result = run(batch)
    assert result.recovered.nonzero().flatten().tolist() == [6]
    assert result.a_prefix[[0, 6]].tolist() == pytest.approx([norm([0, 0, 0, 1])[0], norm([1, 0, 0, 1])[0]])
    assert result.advantages[4:6].eq(0).all()


@pytest.mark.parametrize("n", [1, 2, 3, 7, 8])
@pytest.mark.parametrize("std", ["sample", "population"])
def test_group_of_equal_outcomes_has_no_advantage(n: int, std: str) -> None:
    everyone_right_but_the_source = run(make_batch(question("a", n, n - 1, {0: [1.0, 1.0]})), std=std)
    everyone_wrong = run(make_batch(question("a", n, 0, {0: [0.0, 0.0]})), std=std)
    if n > 1:
        assert everyone_right_but_the_source.advantages[0].tolist() == [0.0] * LENGTH
    assert everyone_wrong.advantages.eq(0).all()


@given(
    st.integers(2, 64),
    st.floats(0, 1, width=32),
    st.sampled_from(["sample", "population"]),
    st.booleans(),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_equal_fractional_rewards_have_exactly_no_advantage(
    n: int, value: float, std: str, by_std: bool, dtype: torch.dtype
) -> None:
    rows = [row._replace(outcome=value) for row in question("a", n, 0, {0: [0.0, 0.0], 1: [0.0] * 5})]
    result = run(make_batch(rows, dtype), by_std, std=std)
    assert result.advantages.eq(0).all()


@pytest.mark.parametrize("by_std", [True, False])
def test_row_without_a_peer_has_no_advantage(by_std: bool) -> None:
    """A source alone in its group, and the only continuation of its prefix that has survived."""
    alone = run(make_batch(question("a", 1, 0, {0: [1.0, 0.0]})), norm_by_std=by_std)
    assert alone.advantages[0].eq(0).all() and alone.recovered[0]
    rows = question("a", 4, 1, {0: [1.0]})
    masked = [*rows, *(row._replace(mask="") for row in resamples("a", 0, [0.0, 0.0, 0.0]))]
    for survivor in (make_batch(rows), make_batch(masked)):
        result = run(survivor, norm_by_std=by_std)
        assert result.advantages[4:].eq(0).all()
        assert result.advantages[0, 0] > 0, "it still recovers its prefix"


def test_without_division_by_std_advantages_are_only_centred() -> None:
    result = run(make_batch(question("a", 4, 1, {0: [1.0, 0.0, 0.0, 0.0]})), norm_by_std=False)
    assert result.advantages[:, 2].tolist() == [0, -0.25, -0.25, 0.75, 0.75, -0.25, -0.25, -0.25]
    assert result.advantages[0, :2].tolist() == [0.5, 0.5]


def test_mask_of_the_outcomes_dtype_is_not_changed_and_gets_no_gradient() -> None:
    batch = make_batch(question("a", 4, 1, {}))
    mask = batch["response_mask"].to(batch["outcome"].dtype)
    before = mask.clone()
    base = grpo_base(batch["outcome"], mask.requires_grad_(), batch["group"], AxpoSettings())
    assert base.abs().max() > 0 and not base.requires_grad
    assert torch.equal(mask, before)


def test_observation_inside_a_prefix_has_advantage_zero() -> None:
    rows = question("a", 4, 1, {0: [1.0, 0.0]})
    rows[0] = rows[0]._replace(mask="1011011", prefix_length=4)
    at = norm([1.0, 0.0, 0.0, 1.0])[0]
    assert run(make_batch(rows)).advantages[0].tolist() == pytest.approx([at, 0, at, at, 0, 0, 0, 0])


def test_outcome_weight_scales_the_prefix_but_not_the_reported_value() -> None:
    batch = make_batch(question("a", 4, 1, {0: [1.0, 0.0]}))
    whole, part = run(batch), run(batch, outcome_weight=0.6)
    assert torch.equal(part.advantages[0], whole.advantages[0] * 0.6)
    assert torch.equal(part.advantages[1:], whole.advantages[1:])
    assert torch.equal(part.a_prefix, whole.a_prefix)


def test_base_is_returned_and_written_in_place_on_sources_only() -> None:
    batch, config = make_batch(question("a", 4, 1, {0: [1.0, 0.0]})), AxpoSettings()
    base = grpo_base(batch["outcome"], batch["response_mask"], batch["group"], config)
    before = base.clone()
    result = axpo_advantage(**batch, base=base, settings=config)
    assert result.advantages.data_ptr() == base.data_ptr()
    assert torch.equal(base[1:], before[1:])
    assert base[0].nonzero().flatten().tolist() == [0, 1]
    assert before[0].nonzero().flatten().tolist() == [0, 1, 2, 5, 6]


# ------------------------------------------------------------------------------------------------------------- groups


def test_continuations_of_each_prefix_are_a_group() -> None:
    rows = [
        *[Row("a", 0), source("a", 1), source("a", 2)],
        *[*resamples("a", 2, [0, 0]), source("b", 1), *resamples("a", 1, [0]), *resamples("b", 1, [0, 0])],
    ]
    batch = make_batch(rows)
    columns = batch["group"], batch["role"], batch["prefix_id"]
    assert axpo_groups(*columns, AxpoSettings()).tolist() == [0, 0, 0, 3, 3, 1, 2, 4, 4]
    assert axpo_groups(*columns, AxpoSettings(separate_group=False)).tolist() == [0, 0, 0, 0, 0, 1, 0, 1, 1]
    assert batch["group"].tolist() == [0, 0, 0, 0, 0, 1, 0, 1, 1]


def test_without_continuations_the_groups_are_the_uids() -> None:
    batch = make_batch([Row("a", 0.0), Row("b", 1.0), Row("a", 1.0)])
    result = run(batch)
    assert axpo_groups(batch["group"], batch["role"], batch["prefix_id"], AxpoSettings()).tolist() == [0, 1, 0]
    assert torch.equal(result.advantages, base_of(batch, AxpoSettings()))
    for mask in masks_of(batch, AxpoSettings()):
        assert torch.equal(mask.long(), batch["response_mask"])


# -------------------------------------------------------------------------------------------------------------- masks

MASKED = [
    Row("a", 1.0, mask="110011"),
    source("a", 1, mask="1110011"),
    source("a", 2, mask="1110011"),
    *resamples("a", 1, [1.0], mask="0010011"),
    *resamples("a", 2, [0.0], mask="1110111"),
]


def text(mask: torch.Tensor) -> list[str]:
    return ["".join(map(str, row)).rstrip("0") for row in mask.int().tolist()]


def test_masks_of_each_role_by_hand() -> None:
    batch = make_batch(MASKED)
    acted_on, divided_by = masks_of(batch, AxpoSettings())
    assert text(acted_on) == ["110011", "11", "11", "0010011", "0010111"]
    assert text(divided_by) == ["110011", "1110011", "1110011", "", ""]
    assert text(batch["response_mask"]) == [row.mask for row in MASKED]
    assert acted_on.dtype == divided_by.dtype == torch.bool


def test_unrecovered_source_under_grpo_is_a_plain_rollout() -> None:
    batch = make_batch(MASKED)
    acted_on, divided_by = masks_of(batch, AxpoSettings(unrecovered_source="grpo"))
    assert text(acted_on) == ["110011", "11", "1110011", "0010011", "0010111"]
    assert text(divided_by) == ["110011", "1110011", "1110011", "", ""]
    result = run(batch, unrecovered_source="grpo")
    at = norm([1.0, 0.0, 0.0])[2]
    assert result.advantages[2].tolist() == pytest.approx([at, at, at, 0, 0, at, at, 0])
    assert result.a_prefix[2] == 0
    assert torch.equal(result.advantages[1], run(batch).advantages[1])


def test_resampling_keeps_the_loss_weight_of_a_plain_token() -> None:
    rows = question("a", 8, 2, {0: [1.0, 0.0, 0.0, 0.0], 3: [0.0] * 4}) + question("b", 8, 0, {})
    originals = [row for row in rows if row.role != CONTINUATION]
    acted_on, divided_by = masks_of(make_batch(rows), AxpoSettings())
    alone = make_batch(originals)["response_mask"]
    now = acted_on[[row.role == PLAIN for row in rows]] / divided_by.sum()
    assert torch.equal(now, alone[[row.role == PLAIN for row in originals]] / alone.sum())


def test_verls_token_mean_weighs_a_plain_token_as_without_resampling() -> None:
    core_algos = pytest.importorskip("verl.trainer.ppo.core_algos")
    rows = question("a", 8, 2, {0: [1.0, 0.0, 0.0, 0.0]})

    def weights(mask: torch.Tensor, divided_by: torch.Tensor) -> torch.Tensor:
        loss = torch.zeros(mask.shape, dtype=torch.float64, requires_grad=True)
        tokens = int(divided_by.sum())
        core_algos.agg_loss(loss, mask, "token-mean", batch_num_tokens=tokens).backward()
        return loss.grad

    batch, alone = make_batch(rows), make_batch(rows[:8])["response_mask"]
    with_resamples, without = weights(*masks_of(batch, AxpoSettings())), weights(alone, alone)
    assert torch.equal(with_resamples[1:8], without[1:8])
    assert with_resamples[8:].sum() > 0


# ---------------------------------------------------------------------------------------------------------- ablations


def test_without_prefix_credit_a_prefix_has_the_advantage_of_its_rollout() -> None:
    batch = make_batch(question("a", 8, 2, {0: [1.0, 0.0], 1: [0.0, 0.0]}))
    result = run(batch, prefix_credit=False)
    at = norm([0.0] * 6 + [1.0] * 2)[0]
    assert result.advantages[:2].tolist() == [pytest.approx([at, at, 0, 0, 0, 0, 0, 0])] * 2
    assert result.recovered.tolist() == [True] + [False] * 11
    assert torch.equal(result.advantages[2:], run(batch).advantages[2:])


def test_without_prefix_credit_prefixes_of_an_all_wrong_question_have_advantage_zero() -> None:
    result = run(make_batch(question("a", 8, 0, {0: [1.0, 0.0]})), prefix_credit=False)
    assert result.advantages[:8].eq(0).all()


def test_merged_group_compares_continuations_with_originals() -> None:
    outcomes = [0.0, 0.0, 0.0, 1.0, 1.0, 0.0]
    result = run(make_batch(question("a", 4, 1, {0: outcomes[4:]})), separate_group=False)
    base, lifted = norm(outcomes), norm([1.0, *outcomes[1:]])
    assert result.advantages[1:, 2].tolist() == pytest.approx(base[1:])
    assert result.advantages[0].tolist() == pytest.approx([lifted[0]] * 2 + [0] * 6)


def test_fresh_rollouts_have_no_source_and_no_given_tokens() -> None:
    originals = [Row("a", float(number == 3)) for number in range(4)]
    fresh = [Row("a", outcome, CONTINUATION, 0, 0, "1101") for outcome in (1.0, 0.0)]
    batch = make_batch(originals + fresh)
    acted_on, divided_by = masks_of(batch, AxpoSettings(fix_prefix=False))
    assert text(acted_on) == ["110011"] * 4 + ["1101"] * 2
    assert text(divided_by) == ["110011"] * 4 + ["", ""]
    for options in ({}, {"prefix_credit": False}, {"unrecovered_source": "grpo"}):
        result = run(batch, fix_prefix=False, **options)
        assert not result.recovered.any()
        assert result.advantages[:, 0].tolist() == pytest.approx([*norm([0, 0, 0, 1]), *norm([1, 0])])


def test_on_top_of_mapo_only_prefixes_change_and_continuations_are_their_own_group() -> None:
    batch = make_batch(question("a", 4, 1, {0: [1.0, 0.0]}))
    config, mapo = AxpoSettings(alignment=True), MapoSettings(beta=0.25, coupling="convex")
    groups = axpo_groups(batch["group"], batch["role"], batch["prefix_id"], config)
    scores = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.2, 0.3], dtype=torch.float64)
    mask = masks_of(batch, config)[0]
    over = mapo_advantage(
        outcome=batch["outcome"],
        turn_scores=scores.unsqueeze(1),
        turn_status=torch.ones(6, 1, dtype=torch.int8),
        turn_spans=torch.tensor([[[2, 3]]] * 6),
        response_mask=mask,
        group=groups,
        settings=mapo,
    ).advantages
    result = axpo_advantage(
        **dict(batch, response_mask=mask), base=over, settings=config, outcome_weight=mapo.outcome_weight
    )
    for group in ([0, 1, 2, 3], [4, 5]):
        out, sem = norm(batch["outcome"][group].tolist()), norm(scores[group].tolist())
        expected = [0.75 * a + 0.25 * b for a, b in zip(out, sem, strict=True)]
        expected[0] *= group[0] != 0  # the source's, after its prefix
        assert result.advantages[group, 2].tolist() == pytest.approx(expected)
    assert result.advantages[0, :2].tolist() == pytest.approx([0.75 * norm([1, 0, 0, 1])[0]] * 2)


# ------------------------------------------------------------------------------------------------------------ padding


@pytest.mark.parametrize("options", [{}, {"separate_group": False}, {"unrecovered_source": "grpo"}])
def test_padding_rows_enter_no_statistic_whatever_their_role(options: dict[str, Any]) -> None:
    rows = question("a", 4, 1, {0: [0.0, 0.0], 1: [1.0, 0.0]}) + question("b", 4, 0, {2: [0.0, 0.0]})
    padding = [
        Row("a", 1.0, CONTINUATION, 0, 2, ""),
        Row("b", NAN, CONTINUATION, 2, 2, ""),
        Row("a", 9.0, SOURCE, 1, 2, ""),
        Row("b", -9.0, PLAIN, -1, 0, ""),
        Row("pad", 1.0, SOURCE, 0, 2, ""),
    ]
    plain, padded = make_batch(rows), make_batch(rows + padding)
    expected, result = run(plain, **options), run(padded, **options)
    for before, after in zip(expected, result, strict=True):
        assert torch.equal(after[: len(rows)], before)
        assert (after[len(rows) :] == 0).all()
    for before, after in zip(masks_of(plain, AxpoSettings()), masks_of(padded, AxpoSettings()), strict=True):
        assert torch.equal(after[: len(rows)], before)
        assert (after[len(rows) :] == 0).all()


@pytest.mark.parametrize("first", [0, 1, 63, 64, 72, 73, 199])
def test_continuation_with_a_long_prefix_is_not_taken_for_padding(first: int) -> None:
    batch = make_batch(question("a", 2, 0, {0: [1.0, 0.0]}))
    batch["response_mask"] = torch.zeros(4, 200, dtype=torch.int64)
    batch["response_mask"][:2] = 1
    batch["response_mask"][2:, first] = 1
    batch["prefix_length"][2:] = first
    result = run(batch)
    assert result.advantages[2:].nonzero().tolist() == [[0, first], [1, first]]
    assert result.recovered.tolist() == [True, False, False, False]


# ------------------------------------------------------------------------------------------- against a slow reference


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[Row], AxpoSettings, bool, float]:
    """Rows of every kind in any order, settings, ``norm_by_std`` and ``outcome_weight``."""
    right = st.sampled_from([0.0, 1.0])
    graded = st.one_of(right, st.integers(-8, 8).map(lambda n: n / 8))
    mask = st.text("01", min_size=LENGTH - 2, max_size=LENGTH)
    rows = []
    for uid in draw(st.sampled_from(["a", "ab", "abc"])):
        for number in range(draw(st.integers(1, 6))):
            if not draw(st.booleans()):
                rows.append(Row(uid, draw(graded), mask="1" + draw(mask)[1:]))
                continue
            length = draw(st.integers(1, 4))
            rows.append(Row(uid, draw(graded), SOURCE, number, length, "1" + draw(mask)[1:]))
            for outcome in draw(st.lists(right, max_size=4)):
                given = draw(st.sampled_from("01")) * length
                rows.append(Row(uid, outcome, CONTINUATION, number, length, given + "1" + draw(mask)[length + 1 :]))
    for row in draw(st.lists(st.sampled_from(rows), max_size=4)):
        rows.append(row._replace(outcome=draw(graded), mask=""))
    config = AxpoSettings(
        prefix_credit=draw(st.booleans()),
        separate_group=draw(st.booleans()),
        unrecovered_source=draw(st.sampled_from(["mask", "grpo"])),
        std=draw(st.sampled_from(["sample", "population"])),
    )
    return draw(st.permutations(rows)), config, draw(st.booleans()), draw(st.sampled_from([1.0, 0.6]))


def slow_relative(value: float, peers: list[float], config: AxpoSettings, by_std: bool) -> float:
    """How far ``value``, one of ``peers``, is from them."""
    if len(peers) == 1:
        return 0.0
    spread = statistics.stdev(peers) if config.std == "sample" else statistics.pstdev(peers)
    return (value - statistics.fmean(peers)) / (spread + EPS if by_std else 1)


def slow_axpo(rows: list[Row], config: AxpoSettings, by_std: bool, weight: float) -> dict[str, torch.Tensor]:
    """Advantages and both masks (B, LENGTH), a row and a token at a time."""
    live = [row for row in rows if "1" in row.mask]
    out = {name: torch.zeros(len(rows), LENGTH, dtype=torch.float64) for name in ("advantages", "acted", "divided")}
    for number, row in enumerate(rows):
        retries = [
            other.outcome
            for other in live
            if (other.uid, other.role, other.prefix_id) == (row.uid, CONTINUATION, row.prefix_id)
        ]
        recovered = any(outcome == 1 for outcome in retries)
        credited = row.role == SOURCE and (recovered or config.unrecovered_source == "mask")
        peers = [other for other in live if other.uid == row.uid]
        if config.separate_group:
            peers = [other for other in peers if (other.role == CONTINUATION) == (row.role == CONTINUATION)]
        rewards, own = [other.outcome for other in peers], row.outcome
        if config.separate_group and row.role == CONTINUATION:
            rewards = retries
        if credited and recovered and config.prefix_credit and row in live:
            own = max(own, 1.0)
            rewards[[other is row for other in peers].index(True)] = own
        for token in (token for token, bit in enumerate(row.mask) if bit == "1"):
            in_prefix = token < row.prefix_length
            out["divided"][number, token] = row.role != CONTINUATION
            out["acted"][number, token] = not (row.role == CONTINUATION and in_prefix or credited and not in_prefix)
            value = slow_relative(own, rewards, config, by_std) * (weight if credited else 1)
            out["advantages"][number, token] = out["acted"][number, token] * value
    return out


@settings(max_examples=400)
@given(cases())
def test_result_equals_a_slow_reference_loop(case: tuple[list[Row], AxpoSettings, bool, float]) -> None:
    rows, config, by_std, weight = case
    batch, expected = make_batch(rows), slow_axpo(*case)
    result = run(batch, by_std, weight, **asdict(config))
    acted_on, divided_by = masks_of(batch, config)
    assert torch.equal(acted_on.double(), expected["acted"])
    assert torch.equal(divided_by.double(), expected["divided"])
    assert torch.allclose(result.advantages, expected["advantages"], atol=1e-7)


@given(cases(), st.randoms(use_true_random=False))
def test_result_does_not_depend_on_row_order_or_uid_names(
    case: tuple[list[Row], AxpoSettings, bool, float], random
) -> None:
    rows, config, by_std, weight = case
    order = list(range(len(rows)))
    random.shuffle(order)
    renamed = [rows[i]._replace(uid=f"z{rows[i].uid}", prefix_id=7 - rows[i].prefix_id) for i in order]
    renamed = [row._replace(prefix_id=-1) if row.role == PLAIN else row for row in renamed]
    plain = run(make_batch(rows), by_std, weight, **asdict(config))
    other = run(make_batch(renamed), by_std, weight, **asdict(config))
    assert torch.allclose(plain.advantages[order], other.advantages, atol=1e-9)
    assert torch.allclose(plain.a_prefix[order], other.a_prefix, atol=1e-9)
    assert torch.equal(plain.recovered[order], other.recovered)


# ------------------------------------------------------------------------------------------- dtypes, devices, gradients

devices = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]


@pytest.mark.parametrize("device", devices)
@pytest.mark.parametrize("mask_dtype", [torch.int64, torch.bool, torch.float32])
def test_float32_and_float64_agree(device: str, mask_dtype: torch.dtype) -> None:
    rows = question("a", 8, 2, {0: [1.0, 0.0], 3: [0.0, 0.0]}) + question("b", 5, 0, {1: [1.0, 1.0]})
    exact = run(make_batch(rows))
    batch = {name: column.to(device) for name, column in make_batch(rows, dtype=torch.float32).items()}
    batch["response_mask"] = batch["response_mask"].to(mask_dtype)
    batch["outcome"].requires_grad_()
    result = run(batch)
    assert result.advantages.dtype == result.a_prefix.dtype == torch.float32
    assert result.advantages.device.type == device
    assert not result.advantages.requires_grad
    for mask, expected in zip(masks_of(batch, AxpoSettings()), masks_of(make_batch(rows), AxpoSettings()), strict=True):
        assert torch.equal(mask.cpu(), expected)
    assert torch.allclose(result.advantages.cpu().double(), exact.advantages, atol=1e-6)
