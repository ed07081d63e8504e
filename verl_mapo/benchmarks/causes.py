# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Did the look cause the answer? The arithmetic of the diagnostics that compare runs with and without tools.

All arrays are over the same questions (or pairs of samples) in the same order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ToolEffects:
    """MED's four terms. D_fail and D_succ: wrong and right without tools; c: at least one tool call.

    Attributes:
        call_gain: P(D_fail) P(c | D_fail) P(right with tools | c, D_fail).
        schema_gain: the same without a call: what the tool text in the prompt alone gains.
        call_harm: P(D_succ) P(c | D_succ) P(wrong with tools | c, D_succ).
        schema_harm: the same without a call.
        accuracy_with, accuracy_without: the two accuracies.
    """

    call_gain: float
    schema_gain: float
    call_harm: float
    schema_harm: float
    accuracy_with: float
    accuracy_without: float

    @property
    def total(self) -> float:
        """call_gain + schema_gain - call_harm - schema_harm, which is accuracy_with - accuracy_without."""
        return self.call_gain + self.schema_gain - self.call_harm - self.schema_harm

    @property
    def from_calls(self) -> float:
        """The part of the difference that comes from questions with a call: call_gain - call_harm."""
        return self.call_gain - self.call_harm


def tool_effects(without: np.ndarray, with_tools: np.ndarray, called: np.ndarray) -> ToolEffects:
    """MED's decomposition of Acc_with - Acc_without (its ``create_csv.py``).

    Args:
        without: whether the answer without tools is right, (N,) bool.
        with_tools: whether the answer with tools is right, (N,) bool.
        called: whether the run with tools called one, (N,) bool.

    Raises:
        ValueError: the arrays have different lengths or are empty.
    """
    fail, right, called = _aligned(~np.asarray(without, bool), with_tools, called)
    return ToolEffects(
        call_gain=_joint(fail, called, right),
        schema_gain=_joint(fail, ~called, right),
        call_harm=_joint(~fail, called, ~right),
        schema_harm=_joint(~fail, ~called, ~right),
        accuracy_with=float(right.mean()),
        accuracy_without=float((~fail).mean()),
    )


def _joint(group: np.ndarray, call: np.ndarray, outcome: np.ndarray) -> float:
    """P(group) P(call | group) P(outcome | call, group); 0 where a condition never holds."""
    chance = 1.0
    given = np.ones_like(group)
    for event in (group, call, outcome):
        if not given.any():
            return 0.0
        chance *= float(event[given].mean())
        given &= event
    return chance


EASY, HARD = 4, 1
"""Beacon: a question is easy with at least 4 of 5 right answers without tools, hard with at most 1, else dropped."""


def mode_adaptiveness(called: np.ndarray, right_of_five: np.ndarray) -> float | None:
    """How well tool calls follow need: the mean of P(call | hard) and P(no call | easy).

    A policy that always calls, or never does, has exactly 0.5, as Beacon says of its measure; that it is this mean is
    our reading [ours].

    Args:
        called: whether a tool was called, (N,) bool.
        right_of_five: of five answers without tools, how many are right, (N,) int.

    Returns:
        None where no question is hard, or none is easy.
    """
    called, counts = np.asarray(called, bool), np.asarray(right_of_five)
    if called.shape != counts.shape:
        raise ValueError(f"there are {called.size} calls and {counts.size} counts: each question needs both")
    hard, easy = counts <= HARD, counts >= EASY
    if not hard.any() or not easy.any():
        return None
    return float((called[hard].mean() + (~called[easy]).mean()) / 2)


def _aligned(*arrays: np.ndarray) -> list[np.ndarray]:
    found = [np.asarray(array, bool) for array in arrays]
    if len({array.shape for array in found}) > 1 or not found[0].size:
        raise ValueError(
            f"the arrays have {[array.size for array in found]} entries: each needs one for every question"
        )
    return found
