# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The diagnostics of tool use: MED's identity is exact, and each measure has its known extremes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verl_mapo.benchmarks import causes

CASES = st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=60)


@given(CASES)
def test_four_terms_add_up_to_the_difference_of_accuracies(cases):
    without, with_tools, called = np.array(cases).T
    found = causes.tool_effects(without, with_tools, called)
    assert abs(found.total - (with_tools.mean() - without.mean())) <= 1e-12
    assert abs(found.total - (found.accuracy_with - found.accuracy_without)) <= 1e-12


def test_identity_holds_on_large_random_data():
    random = np.random.default_rng(0)
    without, with_tools, called = random.random((3, 100_000)) < [[0.3], [0.6], [0.8]]
    found = causes.tool_effects(without, with_tools, called)
    assert abs(found.total - (with_tools.mean() - without.mean())) <= 1e-12


def test_terms_by_hand():
    without = [False, False, False, True, True, True, True, True]
    called = [True, True, False, True, True, False, False, True]
    with_tools = [True, False, True, False, True, False, True, True]
    found = causes.tool_effects(without, with_tools, called)
    assert found.call_gain == pytest.approx(1 / 8) and found.schema_gain == pytest.approx(1 / 8)
    assert found.call_harm == pytest.approx(1 / 8) and found.schema_harm == pytest.approx(1 / 8)
    assert found.from_calls == pytest.approx(0) and found.total == pytest.approx(0)


def test_runs_of_different_lengths_are_an_error():
    with pytest.raises(ValueError, match=r"\[2, 1, 2\] entries"):
        causes.tool_effects([True, False], [True], [True, True])


@given(st.lists(st.integers(0, 5), min_size=0, max_size=20), st.booleans())
def test_policy_that_always_or_never_calls_has_half_the_mode_adaptiveness(counts, always):
    counts = np.array([0, 5, *counts])
    assert causes.mode_adaptiveness(np.full(len(counts), always), counts) == 0.5


def test_mode_adaptiveness_by_hand():
    assert causes.mode_adaptiveness([1, 0, 0, 1, 1], [0, 1, 5, 4, 3]) == 0.5
    assert causes.mode_adaptiveness([1, 1, 0, 0], [0, 1, 5, 4]) == 1.0
    assert causes.mode_adaptiveness([1, 1], [0, 2]) is None
