# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The verdict on a reply, with time for a busy machine."""

from __future__ import annotations

from verl_mapo.rewards.answers import extract, find_check, math_equal
from verl_mapo.rewards.math_process import cpu_limit

PATIENCE_S = 60
"""Time limit of each step of math-verify, wall time where it runs alone, so that a busy machine changes no verdict."""


def right(style: str, text: str, truth: str) -> bool:
    """Whether the answer of a reply passes the check of a style."""
    answer = extract(text)
    if style == "math":
        with cpu_limit(PATIENCE_S):
            return bool(answer) and math_equal(answer, truth)
    return bool(answer) and find_check(style)(answer, truth)
