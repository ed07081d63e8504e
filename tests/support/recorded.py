# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Records of rollouts, as far as a run that goes on reads them."""

from __future__ import annotations

from typing import Any

from verl_mapo.rollout.trajectory import EndReason, Trajectory


def record(question: str, session: int, **kept: Any) -> dict[str, Any]:
    """The record of a rollout without turns; ``kept`` are fields of its trajectory."""
    trajectory = Trajectory(["a.png"], [(8, 8)], [], kept.pop("end_reason", EndReason.ANSWER), **kept)
    return {"question_id": question, "session": session, "trajectory": trajectory.to_record()}
