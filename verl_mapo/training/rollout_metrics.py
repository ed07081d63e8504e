# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Metrics of the rollouts of a step.

``rollout_visual/*``: tool use, crops, labels, faults and end reasons. ``timing_s/agent_loop/*``: seconds of a rollout.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from statistics import fmean

from verl_mapo.rollout.statuses import TurnStatus
from verl_mapo.rollout.trajectory import Trajectory
from verl_mapo.training.step_batch import StepBatch, to_list

LOOP_SECONDS = ("generate_sequences", "tool_calls", "compute_score")
"""verl's names of what a rollout waits for: the policy, the tools, the reward."""


def rollout_metrics(step: StepBatch) -> dict[str, float]:
    """Metrics of the original rollouts of a step that recorded a trajectory."""
    rows = zip(step.trajectories, step.original.tolist(), strict=True)
    metrics = trajectory_metrics([trajectory for trajectory, kept in rows if kept and trajectory is not None])
    return metrics | loop_seconds(step)


def loop_seconds(step: StepBatch) -> dict[str, float]:
    """Mean and maximum of the seconds that an original rollout waited for the policy, for its tools and for its reward.

    The names are those of verl's V0 trainer; its V1 trainer keeps the seconds in TransferQueue and logs none of them.
    Rollouts run at the same time, so their seconds do not add up to ``timing_s/gen``.
    """
    if "metrics" not in step.fields.keys():
        return {}
    rows = zip(to_list(step.fields["metrics"]), step.original.tolist(), strict=True)
    kept = [seconds for seconds, original in rows if original]
    found = {name: [seconds[name] for seconds in kept if name in seconds] for name in LOOP_SECONDS}
    return {
        f"timing_s/agent_loop/{name}/{kind}": value(values)
        for name, values in found.items()
        if values
        for kind, value in (("mean", fmean), ("max", max))
    }


def trajectory_metrics(trajectories: list[Trajectory]) -> dict[str, float]:
    """Means over rollouts; a mean over nothing is left out.

    ``crop_area``: share of the original that a crop covers. ``repeat_iou``: largest overlap of a crop with an earlier
    crop of the same image in the rollout. ``label_tokens``: tokens of a label or description, if there is one.
    ``end/*``: shares of rollouts by end reason. ``bad_call/*``: shares of calls by status. ``faults/*``: shares of
    visual turns by fault.
    """
    turns = [turn for trajectory in trajectories for turn in trajectory.turns]
    calls = [turn for turn in turns if turn.called]
    visual = [turn for turn in turns if turn.described]
    metrics = {
        "tool_rate": mean_of(trajectory.called for trajectory in trajectories),
        "turns": mean_of(len(trajectory.turns) for trajectory in trajectories),
        "valid_call_rate": mean_of(turn.status in (TurnStatus.OK, TurnStatus.NO_ROOM) for turn in calls),
        "crop_area": mean_of(area for trajectory in trajectories for area in trajectory.crop_areas),
        "label_tokens": mean_of(turn.label_tokens for turn in visual if turn.label_tokens),
        "repeat_iou": mean_of(overlap for trajectory in trajectories for overlap in trajectory.repeat_ious),
    }
    for reason, count in Counter(trajectory.end_reason for trajectory in trajectories).items():
        metrics[f"end/{reason}"] = count / len(trajectories)
    for status, count in Counter(turn.status for turn in calls if turn.status != TurnStatus.OK).items():
        metrics[f"bad_call/{status}"] = count / len(calls)
    for fault, count in Counter(fault for turn in visual for fault in turn.faults).items():
        metrics[f"faults/{fault}"] = count / len(visual)
    return {f"rollout_visual/{name}": value for name, value in metrics.items() if value is not None}


def mean_of(values: Iterable[float]) -> float | None:
    """The mean of some values; None without any, so that the metric is left out."""
    values = [*values]
    return fmean(values) if values else None
