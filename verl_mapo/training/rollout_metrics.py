# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Metrics of the rollouts of a step.

``rollout_visual/*``: tool use, crops, labels, faults, end reasons and the seconds of a rollout. ``reward/undecided``:
share of answers whose check came to no result.

A step of the asynchronous modes has several updates. verl aggregates their metrics by substrings of the names: those
with ``max`` by the largest value, with ``min`` by the smallest, with ``timing_s/``, ``sum`` or ``total`` by the sum,
and others by the mean. A name of ours therefore holds ``max`` or ``min`` as its last part or nowhere, and none of the
others.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from statistics import fmean

from verl_mapo.rollout.empty_text import EMPTY_SHARE, REPEATING_SHARE, last_texts, repeats_itself
from verl_mapo.rollout.statuses import EndReason, TurnStatus
from verl_mapo.rollout.trajectory import Trajectory, Turn
from verl_mapo.training.step_batch import StepBatch, to_list

LOOP_SECONDS = ("generate_sequences", "tool_calls", "compute_score")
"""verl's names of what a rollout waits for: the policy, the tools, the reward."""


logger = logging.getLogger(__name__)

_EXAMPLE = 80
"""Characters of a text that repeats itself in a warning."""

_FEW = 0.05
"""Share of a step's boxes in other units below which nothing is logged."""


def rollout_metrics(step: StepBatch) -> dict[str, float]:
    """Metrics of the original rollouts of a step that recorded a trajectory."""
    rows = zip(step.trajectories, step.original.tolist(), strict=True)
    metrics = trajectory_metrics([trajectory for trajectory, kept in rows if kept and trajectory is not None])
    return metrics | waiting_metrics(step) | undecided_share(step)


def undecided_share(step: StepBatch) -> dict[str, float]:
    """Share of the original rollouts whose answer check came to no result, which counts as wrong; see ``Undecided``."""
    rows = zip(step.extra_fields, step.original.tolist(), strict=True)
    terms = [fields.get("reward_extra_info") or {} for fields, original in rows if original]
    found = [row["undecided"] for row in terms if "undecided" in row]
    return {"reward/undecided": fmean(found)} if found else {}


def waiting_metrics(step: StepBatch) -> dict[str, float]:
    """Mean and maximum of the seconds that an original rollout waited for the policy, for its tools and for its reward.

    verl's V1 trainer keeps the seconds in TransferQueue and logs none of them. Rollouts run at the same time, so their
    seconds do not add up to ``timing_s/gen``.
    """
    if "metrics" not in step.fields.keys():
        return {}
    rows = zip(to_list(step.fields["metrics"]), step.original.tolist(), strict=True)
    kept = [seconds for seconds, original in rows if original]
    found = {name: [seconds[name] for seconds in kept if name in seconds] for name in LOOP_SECONDS}
    return {
        f"rollout_visual/seconds/{name}/{kind}": value(values)
        for name, values in found.items()
        if values
        for kind, value in (("mean", fmean), ("max", max))
    }


def trajectory_metrics(trajectories: list[Trajectory]) -> dict[str, float]:
    """Means over rollouts; a mean over nothing is left out.

    ``crop_area``: share of the original that a crop covers. ``repeat_iou``: largest overlap of a crop with an earlier
    crop of the same image in the rollout. ``label_tokens``: tokens of a label or description, if there is one.
    ``lenient_rate``: share of calls that were read although they were spelled in another way than the system message
    shows. ``other_units_rate``: share of boxes that look as if they were written in other units than the run's.
    ``after_call/share``: share of the assistant turns with a call in which something was written after it, and
    ``after_call/tokens`` how many tokens that was, in those turns.
    ``unreadable_images/share``: share of the rollouts with images that ended because one cannot be shown.
    ``empty/share``: share of the rollouts with a turn whose last turn has no text. ``repeating/share``: share of them
    whose last turn repeats itself, see :func:`verl_mapo.rollout.empty_text.repeats_itself`.
    ``errors/share``: share of rollouts without an outcome, because the code of a tool, of the answer check or of the
    reward function failed.
    ``end/*``: shares of rollouts by end reason. ``bad_call/*``: shares of calls by status. ``faults/*``: shares of
    visual turns by fault.
    """
    turns = [turn for trajectory in trajectories for turn in trajectory.turns]
    calls = [turn for turn in turns if turn.called]
    assistant_turns = [parts for trajectory in trajectories for parts in trajectory.assistant_turns]
    last_calls = [parts[-1] for parts in assistant_turns if parts[-1].called]
    visual = [turn for turn in turns if turn.described]
    boxes = [turn for turn in calls if turn.box_said is not None]
    illustrated = [trajectory for trajectory in trajectories if trajectory.images]
    texts = last_texts(trajectories)
    metrics = {
        "tool_rate": mean_of(trajectory.called for trajectory in trajectories),
        "turns": mean_of(len(trajectory.assistant_turns) for trajectory in trajectories),
        "valid_call_rate": mean_of(turn.status in (TurnStatus.OK, TurnStatus.NO_ROOM) for turn in calls),
        "lenient_rate": mean_of(turn.lenient for turn in calls),
        "other_units_rate": mean_of(turn.other_units is not None for turn in boxes),
        "crop_area": mean_of(area for trajectory in trajectories for area in trajectory.crop_areas),
        "label_tokens": mean_of(turn.label_tokens for turn in visual if turn.label_tokens),
        "unreadable_images/share": mean_of(
            trajectory.end_reason == EndReason.UNREADABLE_IMAGE for trajectory in illustrated
        ),
        "after_call/share": mean_of(turn.after_call > 0 for turn in last_calls),
        "after_call/tokens": mean_of(turn.after_call for turn in last_calls if turn.after_call),
        "errors/share": mean_of(bool(trajectory.error) for trajectory in trajectories),
        "empty/share": mean_of(not text for text in texts),
        "repeating/share": mean_of(repeats_itself(text) for text in texts),
        "repeat_iou": mean_of(overlap for trajectory in trajectories for overlap in trajectory.repeat_ious),
    }
    _warn_of_other_units(boxes)
    _warn_of_texts(metrics, trajectories)
    for reason, count in Counter(trajectory.end_reason for trajectory in trajectories).items():
        metrics[f"end/{reason}"] = count / len(trajectories)
    for status, count in Counter(turn.status for turn in calls if turn.status != TurnStatus.OK).items():
        metrics[f"bad_call/{status}"] = count / len(calls)
    for fault, count in Counter(fault for turn in visual for fault in turn.faults).items():
        metrics[f"faults/{fault}"] = count / len(visual)
    return {f"rollout_visual/{name}": value for name, value in metrics.items() if value is not None}


def _warn_of_other_units(boxes: list[Turn]) -> None:
    """Log how many boxes look as if they were written in other units than the run's, if they are not a few."""
    for units, count in Counter(turn.other_units for turn in boxes if turn.other_units).items():
        if count > _FEW * len(boxes):
            logger.warning(
                "%d of %d boxes of this step look as if they were written in the units %s. If the model writes boxes "
                "in these units, set visual_tool.coordinates=%s.",
                count,
                len(boxes),
                units,
                units,
            )


def _warn_of_texts(metrics: Mapping[str, float | None], trajectories: list[Trajectory]) -> None:
    """Log, in one sentence, that many last turns are empty or repeat themselves, with an example."""
    found = []
    for name, limit, what, is_one in (
        ("empty/share", EMPTY_SHARE, "empty", lambda text: not text),
        ("repeating/share", REPEATING_SHARE, "the same again and again", repeats_itself),
    ):
        if (metrics[name] or 0.0) > limit:
            example = next(text for text in last_texts(trajectories) if is_one(text))
            shown = f" (such as {example[-_EXAMPLE:]!r})" if example else ""
            found.append(f"{what} in {metrics[name]:.0%}{shown}")
    if found:
        logger.warning(
            "verl-mapo: the last turn is %s of the rollouts of this step. If that grows, the policy is collapsing: go "
            "back to a checkpoint before the rise, and lower actor_rollout_ref.actor.optim.lr or set use_kl_loss.",
            " and ".join(found),
        )


def mean_of(values: Iterable[float]) -> float | None:
    """The mean of some values; None without any, so that the metric is left out."""
    values = [*values]
    return fmean(values) if values else None
