# Copyright 2026 The verl_mapo authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""What a step's rollouts and advantages looked like, as named numbers.

``rollout_visual/*`` are read off the trajectory records, ``mapo/*`` off the advantage, ``axpo/*`` off what
the rows of a batch were to the resampling.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import compress
from statistics import fmean
from typing import Any

import torch
from transfer_queue import KVBatchMeta

from verl_mapo.advantages.axpo import PLAIN, RESAMPLE, SOURCE, AxpoConfig
from verl_mapo.advantages.groups import group_ids
from verl_mapo.advantages.mapo import ABSENT, RIGHT, UNSCORED, MapoAdvantage
from verl_mapo.rollout.trajectory import TRAJECTORY, Trajectory, Turn
from verl_mapo.tools.coordinates import iou
from verl_mapo.training.columns import live_rows, uids


def rollout_metrics(trajectories: list[Trajectory]) -> dict[str, float]:
    """Means over the rollouts of a step; a mean over nothing is left out.

    ``crop_area``: share of the original that a crop covers. ``repeat_iou``: largest overlap of a crop with an earlier
    crop of the same image in the rollout. ``label_tokens``: of labels that were given. ``faults/*``: of visual turns.
    """
    turns = [turn for trajectory in trajectories for turn in trajectory.turns]
    calls = [turn for turn in turns if turn.called]
    visual = [turn for turn in turns if turn.described]
    metrics = {
        "tool_rate": _mean(any(turn.called for turn in trajectory.turns) for trajectory in trajectories),
        "turns": _mean(len(trajectory.turns) for trajectory in trajectories),
        "valid_call_rate": _mean(turn.status in ("ok", "no_room") for turn in calls),
        "crop_area": _mean(area for trajectory in trajectories for area in _areas(trajectory)),
        "label_tokens": _mean(turn.label_tokens for turn in visual if turn.label_tokens),
        "repeat_iou": _mean(overlap for trajectory in trajectories for overlap in _repeats(trajectory)),
    }
    for reason, count in Counter(trajectory.end_reason for trajectory in trajectories).items():
        metrics[f"end/{reason}"] = count / len(trajectories)
    for status, count in Counter(turn.status for turn in calls if turn.status != "ok").items():
        metrics[f"bad_call/{status}"] = count / len(calls)
    for fault, count in Counter(fault for turn in visual for fault in turn.faults).items():
        metrics[f"faults/{fault}"] = count / len(visual)
    return {f"rollout_visual/{name}": value for name, value in metrics.items() if value is not None}


def mapo_metrics(
    result: MapoAdvantage, outcome: torch.Tensor, status: torch.Tensor, live: torch.Tensor
) -> dict[str, float]:
    """Spread of both advantages and share of groups at their floors.

    Args:
        outcome: (B,) rewards.
        status: (B, T) int8, the ``turn_status`` column.
        live: (B,) bool, rows that are rollouts and not padding.
    """
    scored = result.alignment[live & result.has_alignment]
    looked = (status[live] != ABSENT).sum()
    metrics = {
        "outcome/mean": outcome[live].mean(),
        "outcome/std": outcome[live].std(correction=0),
        "a_out/std": result.a_out[live].std(correction=0),
        "a_sem/std": result.a_sem[live].std(correction=0),
        "std_floor/outcome_share": _share(result.outcome_flat, result.outcome_counted),
        "std_floor/alignment_share": _share(result.semantic_floored, result.semantic_counted),
        "alignment/unscored_share": (status[live] == UNSCORED).sum() / looked.clamp_min(1),
    }
    if len(scored):
        metrics["alignment/mean"] = scored.mean()
        metrics["alignment/std"] = scored.std(correction=0)
    return {f"mapo/{name}": float(value) for name, value in metrics.items()}


@dataclass(frozen=True)
class Explored:
    """The rows of an explored step, padding left out; B of them.

    Attributes:
        group: (B,) int64, the number of each row's uid.
        outcome: (B,) rewards.
        called: (B,) bool, a tool was called.
        columns: (B,) each, see :meth:`verl_mapo.rollout.exploration.Group.columns`.
        prompt_tokens: (B,) int64.
        response_tokens: (B,) int64, those given to a resample among them.
        cached_tokens: (B,) float, of the first generation, NaN where the engine does not say.
    """

    group: torch.Tensor
    outcome: torch.Tensor
    called: torch.Tensor
    columns: dict[str, torch.Tensor]
    prompt_tokens: torch.Tensor
    response_tokens: torch.Tensor
    cached_tokens: torch.Tensor

    @classmethod
    def of(
        cls, batch: KVBatchMeta, outcome: torch.Tensor, extra: list[dict[str, Any]], columns: dict[str, torch.Tensor]
    ) -> Explored:
        """The rows of a batch, from its keys, its tags and its columns ``extra_fields`` and those of the roles."""
        live = live_rows(batch)
        turns = [row.get(TRAJECTORY, {"turns": []})["turns"] for row in extra]
        cached = [row.get("num_cached_tokens") for row in extra]
        return cls(
            group=group_ids(list(compress(uids(batch), live.tolist()))),
            outcome=outcome[live],
            called=torch.tensor([any(Turn(**turn).called for turn in row) for row in turns])[live],
            columns={name: column[live] for name, column in columns.items()},
            prompt_tokens=torch.tensor([tag["prompt_len"] for tag in batch.tags])[live],
            response_tokens=torch.tensor([tag["response_len"] for tag in batch.tags])[live],
            cached_tokens=torch.tensor([float("nan") if tokens is None else tokens for tokens in cached])[live],
        )


def axpo_metrics(rows: Explored, config: AxpoConfig) -> dict[str, float]:
    """What was resampled in a step, what came of it and what it cost; a mean over nothing is left out.

    ``trigger_rate``: of the groups with tool users. ``recovery_rate``: of the prefixes resampled. ``slots/*``:
    prefixes. ``lost``: continuations that died. ``extra_tokens``: tokens behind the prefixes per token of the original
    rollouts. ``seconds/*``: what a prompt took after its last original rollout. ``cached_share``: of the tokens that
    resamples were given, prompt and prefix. ``confidence/selected``, ``confidence/passed_over``: tool users of
    triggered groups.
    """
    role, confidence = rows.columns["role"], rows.columns["confidence"]
    resample, right = role == RESAMPLE, rows.outcome >= RIGHT
    users = rows.called & ~resample

    def groups_with(flag: torch.Tensor) -> torch.Tensor:
        return torch.zeros(int(rows.group.max()) + 1, dtype=torch.bool).index_fill_(0, rows.group[flag], True)

    def prefixes(flag: torch.Tensor) -> int:
        return len(torch.stack([rows.group[flag], rows.columns["prefix_id"][flag]]).unique(dim=1).T)

    used_tools = groups_with(users)
    triggered = used_tools & ~groups_with(users & right)
    rivals = users & triggered[rows.group] & ~confidence.isnan()
    lost, selected = int(rows.columns["lost"].sum()), prefixes(resample)
    offered, used = config.slots(int((~resample).sum())), (int(resample.sum()) + lost) / config.continuations
    given = rows.prompt_tokens + rows.columns["prefix_length"]
    known = resample & ~rows.cached_tokens.isnan()
    metrics = {
        "outcome/original": _mean(rows.outcome[~resample].tolist()),
        "outcome/resampled": _mean(rows.outcome[resample].tolist()),
        "subgroup_size": _mean([users.sum() / used_tools.sum()] if used_tools.any() else []),
        "trigger_rate": _mean(triggered[used_tools].tolist()),
        "recovery_rate": prefixes(resample & right) / selected if selected else None,
        "slots/offered": offered,
        "slots/used": used,
        "slots/unspent": offered - used,
        "lost": lost,
        "confidence/selected": _mean(confidence[rivals & (role == SOURCE)].tolist()),
        "confidence/passed_over": _mean(confidence[rivals & (role == PLAIN)].tolist()),
        "extra_tokens": (rows.response_tokens - rows.columns["prefix_length"])[resample].sum()
        / rows.response_tokens[~resample].sum(),
        "seconds/mean": rows.columns["explore_seconds"][~resample].mean(),
        "seconds/max": rows.columns["explore_seconds"].max(),
        "cached_share": (rows.cached_tokens[known].sum() / given[known].sum()) if known.any() else None,
    }
    return {f"axpo/{name}": float(value) for name, value in metrics.items() if value is not None}


def _mean(values: Iterable[float]) -> float | None:
    values = [*values]
    return fmean(values) if values else None


def _share(flag: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
    return (flag & counted).sum() / counted.sum().clamp_min(1)


def _shown(trajectory: Trajectory) -> list[Turn]:
    return [turn for turn in trajectory.turns if turn.described and turn.box_executed]


def _areas(trajectory: Trajectory) -> Iterable[float]:
    for turn in _shown(trajectory):
        x1, y1, x2, y2 = turn.box_executed
        width, height = trajectory.image_sizes[turn.image]
        yield (x2 - x1) * (y2 - y1) / (width * height)


def _repeats(trajectory: Trajectory) -> Iterable[float]:
    shown = _shown(trajectory)
    for i, turn in enumerate(shown):
        earlier = [iou(turn.box_executed, other.box_executed) for other in shown[:i] if other.image == turn.image]
        if earlier:
            yield max(earlier)


def reread(record: dict[str, Any]) -> Trajectory:
    """A trajectory from its :meth:`~verl_mapo.rollout.trajectory.Trajectory.record`."""
    return Trajectory(**{**record, "turns": [Turn(**turn) for turn in record["turns"]]})
