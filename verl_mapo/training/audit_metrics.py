# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Validation metrics of audited rollouts: does the answer come from the look?

Of each data source, below ``val-audit/``: ``looks/<source>``, the number of audited rollouts; ``accuracy/<source>``,
the share of them that are right; and of each kind of swap ``accuracy/<source>/<kind>``, the same after the swap,
``without_looking/<source>/<kind>``, the share of right answers that stay right, and ``evidence/<source>/<kind>``, the
visual evidence gain in nats. What has no value is left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from verl_mapo.rollout.trajectory import Trajectory

PREFIX = "val-audit"
RIGHT = 0.5
"""A reward above it is a right answer, as for verl's Pass@k [ours]."""


def audit_metrics(rollouts: Iterable[tuple[str, float, Trajectory | None]]) -> dict[str, float]:
    """The metrics of the rollouts of a validation.

    Args:
        rollouts: data source, reward and trajectory of each; those without an audit, or whose own outcome is not known,
            are left out.
    """
    looks: dict[str, int] = defaultdict(int)
    real: dict[str, list[bool]] = defaultdict(list)
    pairs: dict[tuple[str, str], list[tuple[bool, bool]]] = defaultdict(list)
    evidence: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for source, outcome, trajectory in rollouts:
        if trajectory is None or trajectory.audit is None or trajectory.error:
            continue
        looks[source] += 1
        real[source].append(outcome > RIGHT)
        for swap in trajectory.audit.swaps:
            if swap.outcome is not None:
                pairs[source, swap.kind].append((outcome > RIGHT, swap.outcome > RIGHT))
            if None not in (swap.evidence, trajectory.audit.evidence):
                evidence[source, swap.kind].append((trajectory.audit.evidence, swap.evidence))
    metrics = {f"looks/{source}": float(count) for source, count in looks.items()}
    metrics |= {f"accuracy/{source}": float(np.mean(right)) for source, right in real.items()}
    for (source, kind), found in pairs.items():
        before, after = np.array(found, bool).T
        metrics[f"accuracy/{source}/{kind}"] = float(after.mean())
        metrics[f"without_looking/{source}/{kind}"] = called_without_looking(before, after)
    for (source, kind), found in evidence.items():
        metrics[f"evidence/{source}/{kind}"] = visual_evidence_gain(*np.array(found).T)
    return {f"{PREFIX}/{name}": value for name, value in metrics.items() if not np.isnan(value)}


def called_without_looking(real: np.ndarray, swapped: np.ndarray) -> float:
    """The share of right answers with a look that stay right when the observations are replaced.

    As CauAudit's trajectory level: every observation is replaced by a crop of the same size that shows something else.

    Args:
        real: whether the answer with the real observations is right, (N,) bool.
        swapped: whether the answer with the replaced ones is right, (N,) bool.

    Returns:
        NaN where no answer is right.
    """
    real, swapped = np.asarray(real, bool), np.asarray(swapped, bool)
    if real.shape != swapped.shape:
        raise ValueError(f"there are {real.size} real and {swapped.size} swapped answers: each needs both")
    survived = swapped[real]
    return float(survived.mean()) if survived.size else float("nan")


def visual_evidence_gain(real: np.ndarray, swapped: np.ndarray) -> float:
    """The mean of log p(right answer | real crop) - log p(right answer | replaced crop), at the same prefix, in nats.

    Args:
        real, swapped: the two log-probabilities of each look, (N,) float.
    """
    real, swapped = np.asarray(real, float), np.asarray(swapped, float)
    if real.shape != swapped.shape:
        raise ValueError(f"there are {real.size} real and {swapped.size} swapped looks: each needs both")
    return float((real - swapped).mean()) if real.size else float("nan")
