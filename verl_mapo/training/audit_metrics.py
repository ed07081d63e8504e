# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Validation metrics of audited rollouts: does the answer come from the look?

Of each data source, below ``val-audit/``: ``looks/<source>``, the number of audited rollouts; ``accuracy/<source>``, the
share of them that are right; and of each kind of swap ``accuracy/<source>/<kind>``, the same after the swap,
``without_looking/<source>/<kind>``, the share of right answers that stay right, and ``evidence/<source>/<kind>``, the
visual evidence gain in nats. What has no value is left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from verl_mapo.benchmarks.causes import called_without_looking, visual_evidence_gain
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
        metrics[f"without_looking/{source}/{kind}"] = called_without_looking(np.ones_like(before), before, after)
    for (source, kind), found in evidence.items():
        metrics[f"evidence/{source}/{kind}"] = visual_evidence_gain(*np.array(found).T)
    return {f"{PREFIX}/{name}": value for name, value in metrics.items() if not np.isnan(value)}
