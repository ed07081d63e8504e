# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Group numbers, statistics and normalisation against slow references."""

import math
import statistics

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from verl_mapo.advantages.groups import EPS, group_ids, group_normalise, group_stats, grpo_advantage, has_policy_token

NAN = float("nan")


def f64(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("as_array", [False, True])
def test_group_ids_number_groups_by_first_appearance(as_array: bool) -> None:
    index = ["b", "a", "b", "c", "a"]
    ids = group_ids(np.array(index, dtype=object) if as_array else index)
    assert ids.dtype == torch.int64
    assert ids.tolist() == [0, 1, 0, 2, 1]


def test_group_ids_of_an_empty_batch_are_empty() -> None:
    assert group_ids([]).shape == (0,)


def test_group_ids_tell_labels_of_different_types_apart() -> None:
    assert group_ids(["1", "01", "1.0"]).tolist() == [0, 1, 2]


@given(st.lists(st.text(max_size=2), max_size=30))
def test_group_ids_are_dense_and_partition_rows_by_label(index: list[str]) -> None:
    ids = group_ids(index).tolist()
    assert sorted(set(ids)) == list(range(len(set(index))))
    assert len(set(zip(ids, index, strict=True))) == len(set(index))


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=12))
def test_group_ids_do_not_depend_on_label_names(index: list[str]) -> None:
    renamed = [{"a": "zzz", "b": "0", "c": "middle"}[label] for label in index]
    assert torch.equal(group_ids(index), group_ids(renamed))


def test_stats_by_hand() -> None:
    stats = group_stats(f64(1, 5, 3, 7, NAN), torch.tensor([0, 2, 0, 2, 3]), torch.tensor([1, 1, 1, 0, 0]).bool())
    assert stats.count.tolist() == [2, 0, 1, 0]
    assert stats.mean.tolist() == [2, 0, 5, 0]
    assert stats.std.tolist() == pytest.approx([math.sqrt(2), 0, 0, 0])


def test_row_may_have_several_members() -> None:
    values, group = torch.tensor([[1.0, NAN], [2.0, 6.0], [5.0, NAN]]), torch.tensor([0, 0, 1])
    valid = ~values.isnan()
    flat = group_normalise(values.flatten(), group.repeat_interleave(2), valid.flatten())
    rows = group_normalise(values, group, valid)
    assert rows.stats.count.tolist() == [3, 1]
    assert rows.value.shape == values.shape
    assert torch.equal(rows.value.flatten(), flat.value)


members = st.lists(
    st.tuples(st.integers(-64, 64).map(lambda n: n / 16), st.integers(0, 3), st.booleans()), min_size=1, max_size=24
)


@given(members, st.sampled_from([torch.float32, torch.float64]))
def test_stats_match_a_loop(rows: list[tuple[float, int, bool]], dtype: torch.dtype) -> None:
    values, group, valid = zip(*rows, strict=True)
    stats = group_stats(torch.tensor(values, dtype=dtype), torch.tensor(group), torch.tensor(valid))
    assert stats.mean.dtype == stats.std.dtype == dtype
    assert stats.count.shape == (max(group) + 1,)
    for number in range(max(group) + 1):
        mine = [value for value, g, ok in rows if g == number and ok]
        assert stats.count[number] == len(mine)
        assert stats.mean[number].item() == pytest.approx(statistics.fmean(mine) if mine else 0, abs=1e-5)
        assert stats.std[number].item() == pytest.approx(statistics.stdev(mine) if len(mine) > 1 else 0, abs=1e-5)


def test_normalise_by_hand() -> None:
    done = group_normalise(f64(1, 3, 10, 14, 12), torch.tensor([0, 0, 1, 1, 1]))
    root = math.sqrt(2)
    assert done.value.tolist() == pytest.approx([-1 / (root + EPS), 1 / (root + EPS), -2 / (2 + EPS), 2 / (2 + EPS), 0])
    assert done.counted.tolist() == [True, True]
    assert done.floored.tolist() == [False, False]


def test_normalise_without_std_centres_and_applies_no_floor() -> None:
    done = group_normalise(f64(1, 3, 5, 5), torch.tensor([0, 0, 1, 1]), by_std=False, min_std=100)
    assert done.value.tolist() == [-1, 1, 0, 0]
    assert not done.floored.any()


def test_invalid_members_are_zero_and_not_read() -> None:
    done = group_normalise(f64(1, NAN, 3, NAN), torch.tensor([0, 0, 0, 1]), torch.tensor([True, False, True, False]))
    assert done.value[[1, 3]].tolist() == [0, 0]
    assert done.value[[0, 2]].tolist() == pytest.approx([-math.sqrt(0.5), math.sqrt(0.5)], abs=1e-5)
    assert done.counted.tolist() == [True, False]


@pytest.mark.parametrize("by_std", [True, False])
def test_only_valid_member_is_compared_with_nothing_and_gets_zero(by_std: bool) -> None:
    done = group_normalise(f64(7, NAN), torch.tensor([0, 0]), torch.tensor([True, False]), by_std=by_std, min_std=0.1)
    assert done.value.tolist() == [0, 0]
    assert done.counted.tolist() == [False]
    assert done.floored.tolist() == [False]


@given(
    st.integers(2, 64),
    st.floats(-1e3, 1e3, width=32),
    st.lists(st.integers(-2, 2), min_size=1, max_size=64),
    st.booleans(),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_members_that_are_equal_up_to_float32_rounding_get_exactly_zero(
    size: int, value: float, steps: list[int], by_std: bool, dtype: torch.dtype
) -> None:
    """Each member is the value or one of the float32 numbers next to it."""
    step = np.spacing(np.float32(value))
    rounded = [np.float32(value + steps[i % len(steps)] * step) for i in range(size)]
    values, group = torch.tensor(np.array(rounded), dtype=dtype), torch.zeros(size, dtype=torch.int64)
    flat = group_normalise(torch.cat([values, values + 1]), torch.cat([group, group + 1]), by_std=by_std)
    assert flat.value.eq(0).all() and flat.stats.std.eq(0).all() and flat.value.dtype == dtype


def test_smallest_spread_above_rounding_still_counts() -> None:
    done = group_normalise(f64(0.7, 0.7 + 1e-5), torch.tensor([0, 0]), by_std=False)
    assert done.value.tolist() == pytest.approx([-5e-6, 5e-6])


def test_reward_that_is_no_number_is_not_hidden_by_a_zero() -> None:
    assert group_normalise(f64(1, NAN), torch.tensor([0, 0])).value.isnan().all()


def test_floor_applies_to_flat_groups_only() -> None:
    values, group = f64(0.2, 0.2002, 0.2, 0.3), torch.tensor([0, 0, 1, 1])
    floored, free = group_normalise(values, group, min_std=0.01), group_normalise(values, group)
    assert floored.floored.tolist() == [True, False]
    assert not free.floored.any()
    assert floored.value[:2].tolist() == pytest.approx([-0.01, 0.01], rel=1e-3)
    assert free.value[:2].abs().tolist() == pytest.approx([0.7, 0.7], abs=0.02)
    assert torch.equal(floored.value[2:], free.value[2:])


@given(members, st.randoms(use_true_random=False), st.booleans())
def test_row_order_does_not_matter(rows: list[tuple[float, int, bool]], random, by_std: bool) -> None:
    order = list(range(len(rows)))
    random.shuffle(order)
    values, group, valid = (torch.tensor(column) for column in zip(*rows, strict=True))
    values = values.double()

    def run(pick: list[int]) -> torch.Tensor:
        return group_normalise(values[pick], group[pick], valid[pick], by_std=by_std, min_std=0.1).value

    assert torch.allclose(run(list(range(len(rows))))[order], run(order), atol=1e-9)


def test_policy_token_is_found_wherever_it_is() -> None:
    masks = torch.cat([torch.eye(700), torch.zeros(1, 700)])
    assert has_policy_token(masks).tolist() == [True] * 700 + [False]


@pytest.mark.parametrize("by_std", [True, False])
@pytest.mark.parametrize("name", ["compute_grpo_outcome_advantage", "compute_grpo_vectorized_outcome_advantage"])
def test_grpo_is_verls_where_every_row_has_a_peer_and_a_token(name: str, by_std: bool) -> None:
    core_algos = pytest.importorskip("verl.trainer.ppo.core_algos")
    generator = torch.Generator().manual_seed(0)
    index = np.array([f"uid-{g}" for g, size in enumerate([8, 8, 5, 2]) for _ in range(size)], dtype=object)
    rewards, mask = torch.zeros(len(index), 6), torch.ones(len(index), 6)
    rewards[:, 2] = torch.randint(0, 5, (len(index),), generator=generator) / 4
    mask[torch.arange(len(index)), torch.randint(0, 6, (len(index),), generator=generator)] = 0
    expected, _ = getattr(core_algos, name)(rewards, mask, index, norm_adv_by_std_in_grpo=by_std)
    found = grpo_advantage(rewards.sum(dim=1), mask, group_ids(index), by_std=by_std)
    assert found.dtype == expected.dtype == torch.float32
    assert torch.allclose(found, expected, atol=1e-5)


def test_row_without_a_token_in_the_loss_changes_no_other_row() -> None:
    mask, group = torch.tensor([[1, 1], [0, 1], [0, 0]]), torch.tensor([0, 0, 0])
    found = grpo_advantage(f64(1, 0, 9), mask, group)
    root = math.sqrt(0.5)
    assert found.tolist() == [pytest.approx([root, root], abs=1e-5), pytest.approx([0, -root], abs=1e-5), [0, 0]]


def test_no_gradient_is_recorded() -> None:
    values = torch.tensor([1.0, 2.0], requires_grad=True)
    assert not group_normalise(values, torch.tensor([0, 0])).value.requires_grad
