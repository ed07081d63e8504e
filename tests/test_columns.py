# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Every column of the contract against the function that computes it."""

from __future__ import annotations

import pkgutil

import pytest
import torch

from verl_mapo.columns import (
    AXPO_COLUMNS,
    COLUMNS,
    CONTINUATION,
    PLAIN,
    ROLE_NAMES,
    SOURCE,
    TURN_COLUMNS,
    Column,
)
from verl_mapo.rollout.axpo.first_call import FirstCall
from verl_mapo.rollout.axpo.prompt_group import Continuations, FinishedRollout, PromptGroup
from verl_mapo.rollout.trajectory import Trajectory, Turn

MAX_TURNS = 3
"""T of the contract."""


def expected_shape(column: Column, rows: int | None = None) -> tuple[int, ...]:
    """The shape of a column's tensor, for one row or for a number of rows."""
    row = tuple(MAX_TURNS if size == "T" else int(size) for size in column.shape)
    return row if rows is None else (rows, *row)


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: column.name)
def test_writer_is_a_function_of_the_package(column):
    assert column.writer.startswith("verl_mapo.")
    assert callable(pkgutil.resolve_name(column.writer))


def test_names_are_unique_and_every_column_has_a_meaning():
    assert len({column.name for column in COLUMNS}) == len(COLUMNS)
    assert all(column.meaning.endswith(".") for column in COLUMNS)


def test_every_role_has_a_word():
    assert list(ROLE_NAMES) == [PLAIN, SOURCE, CONTINUATION]


@pytest.mark.parametrize("turns", [0, 1, MAX_TURNS])
def test_trajectory_writes_the_turn_columns_of_the_contract(turns):
    visual = [Turn((10 * i, 10 * i + 5), "look", described=True, score=None if i else 0.5) for i in range(turns)]
    found = Trajectory([], turns=visual).columns(MAX_TURNS)
    assert list(found) == [column.name for column in TURN_COLUMNS]
    for column in TURN_COLUMNS:
        assert found[column.name].dtype == column.dtype
        assert found[column.name].shape == expected_shape(column)


def test_prompt_group_writes_the_axpo_columns_of_the_contract():
    group = PromptGroup(2)
    group.finished[0] = FinishedRollout(["p_0_0"], None, 0.0, FirstCall(7, 0.5, 0.6))
    group.finished[1] = FinishedRollout(["p_1_0", "p_1_1"], None, 1.0)
    group.continuations.append(Continuations(0, 7, ["p_2_0", "p_3_0"], lost=1))
    group.seconds = 1.5
    keys, found = group.columns()
    assert keys == ["p_0_0", "p_1_0", "p_1_1", "p_2_0", "p_3_0"]
    assert list(found) == [column.name for column in AXPO_COLUMNS]
    for column in AXPO_COLUMNS:
        assert found[column.name].dtype == column.dtype
        assert found[column.name].shape == expected_shape(column, rows=len(keys))
    assert found["role"].tolist() == [SOURCE, PLAIN, PLAIN, CONTINUATION, CONTINUATION]


def test_dtypes_hold_the_values_that_mean_no_value():
    for column in COLUMNS:
        if "NaN" in column.meaning:
            assert column.dtype.is_floating_point
        if "-1" in column.meaning:
            assert torch.iinfo(column.dtype).min < 0
