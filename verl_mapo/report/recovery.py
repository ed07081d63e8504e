# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Whether AXPO finds anything to recover: how often it is triggered, and how often a continuation is correct.

Reads the records of rollouts, and the number of prefixes that a step may resample. It does not look at how the rollouts
were made, or at whether training on them helped.

A *rollout* is an original one in this module. A rollout that goes on from a prefix is called a continuation.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import NormalDist

from verl_mapo import names
from verl_mapo.advantages.axpo import AxpoSettings
from verl_mapo.columns import CORRECT
from verl_mapo.report.load import Rollout, RunData
from verl_mapo.settings import parse, select
from verl_mapo.training.records import RecordSettings

Z = NormalDist().inv_cdf(0.975)
"""Half of the width of a 95 % interval, in standard errors."""

NULL = 0.05
"""Share of recovered prefixes, of those resampled, below which AXPO is not expected to help. [ours]"""

REFERENCE = (
    "For comparison: the paper reports that about 12% of triggered groups recover per step. An independent port, in "
    "which 1 of 59 prefixes recovered (1.7%), found no gain."
)


def wilson(share: float, total: float) -> tuple[float, float]:
    """Wilson's 95 % score interval: every p with ``|share - p| <= Z sqrt(p (1 - p) / total)``.

    Args:
        share: the observed share, in [0, 1].
        total: the number of observations, > 0.
    """
    shrink = 1 + Z**2 / total
    centre = (share + Z**2 / (2 * total)) / shrink
    half = Z * math.sqrt(share * (1 - share) / total + (Z / (2 * total)) ** 2) / shrink
    return max(0.0, centre - half), min(1.0, centre + half)


def all_wrong_rate(tool_rate: float, accuracy: float, n: float) -> float:
    """Probability that all tool users of a group are wrong, given that it has any, if all rollouts were independent.

    Each of n rollouts calls a tool with probability t, and a rollout that calls is correct with probability q. The
    probability that no rollout both calls and is correct is (1 - tq)^n, and that no rollout calls is (1 - t)^n. So

        P(all wrong | at least one called) = ((1 - tq)^n - (1 - t)^n) / (1 - (1 - t)^n)

    The paper observed 0.4 at t = 0.3 and n = 8, which corresponds to q = 0.33. Where some questions are harder than
    others, the rate is higher than this formula says.

    Args:
        tool_rate: t, in (0, 1].
        accuracy: q, in [0, 1].
        n: rollouts of a group.
    """
    no_call = (1 - tool_rate) ** n
    return ((1 - tool_rate * accuracy) ** n - no_call) / (1 - no_call)


@dataclass(frozen=True)
class Rate:
    """A share as two counts.

    Attributes:
        hits: number of cases that are counted.
        total: number of all cases.
    """

    hits: int
    total: int

    @property
    def share(self) -> float | None:
        """``hits / total``; None where the total is 0."""
        return self.hits / self.total if self.total else None

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the share, see :func:`wilson`; (0, 1) where the total is 0."""
        return wilson(self.hits / self.total, self.total) if self.total else (0.0, 1.0)


@dataclass(frozen=True)
class Recovery:
    """Counts over some training steps.

    The intervals assume that prefixes are independent. Several prefixes of one question are not quite independent, so
    the true intervals are somewhat wider. With few hits the lower end is too high: for 1 of 3 it is 6 %, while that of
    an exact (Clopper-Pearson) interval is 0.8 %.

    Attributes:
        steps: number of steps.
        users: rollouts that called a tool, of all rollouts.
        correct: rollouts that are correct, of those that called a tool.
        groups: groups with a rollout that called a tool, of all groups.
        triggered: groups in which all rollouts that called a tool are wrong, of the groups that have any.
        recovered: prefixes of which a continuation is correct, of those resampled.
        recovered_groups: groups with such a prefix, of the triggered groups, whether resampled or not.
        slots: prefixes resampled, of those that the budget of all steps allows; None where the configuration does not
            enable AXPO.
    """

    steps: int
    users: Rate
    correct: Rate
    groups: Rate
    triggered: Rate
    recovered: Rate
    recovered_groups: Rate
    slots: Rate | None

    @property
    def expected(self) -> float | None:
        """The share of ``triggered`` if all rollouts were independent (:func:`all_wrong_rate`); None without users."""
        if self.correct.share is None:
            return None
        return all_wrong_rate(self.users.share, self.correct.share, self.users.total / self.groups.total)

    @property
    def more_steps(self) -> int | None:
        """Further steps until the interval of ``recovered`` excludes :data:`NULL`, if the share stays as it is.

        0 where it does already; None where the share equals :data:`NULL` or nothing was resampled.
        """
        if self.recovered.share in (None, NULL):
            return None
        needed = Z**2 * NULL * (1 - NULL) / (self.recovered.share - NULL) ** 2
        return max(0, math.floor((needed / self.recovered.total - 1) * self.steps) + 1)

    @property
    def verdict(self) -> str:
        """Whether AXPO will have anything to recover: yes, no or not clear, and why."""
        if not self.recovered.total:
            return self._nothing_resampled()
        low, high = self.recovered.interval
        if high < NULL:
            return f"No: at most {high:.1%} of prefixes recover. Below about {NULL:.0%}, expect no gain from AXPO."
        if low > NULL:
            return (
                f"Yes: at least {low:.1%} of prefixes recover. Only below about {NULL:.0%}, expect no gain from AXPO."
            )
        unclear = (
            f"Not clear yet: between {low:.1%} and {high:.1%} of prefixes recover. Below about {NULL:.0%}, expect no "
            "gain from AXPO."
        )
        if self.more_steps is None:
            return f"{unclear} The rate so far is exactly at this limit: no number of steps at this rate would decide."
        more = _count(self.more_steps, "more step")
        return f"{unclear} At the rate so far {more} would decide, {self.steps + self.more_steps:,} in all."

    def _nothing_resampled(self) -> str:
        if not self.users.total:
            return "Not clear: there are no rollouts."
        if not self.users.hits:
            return f"No: none of {self.users.total} rollouts called a tool, and AXPO resamples only tool calls."
        if not self.triggered.hits:
            return (
                f"No, judging by {_count(self.triggered.total, 'group')} with tool users: in each of them a tool user "
                f"is correct, so AXPO is not triggered (in at most {self.triggered.interval[1]:.1%} of groups it "
                "would be)."
            )
        return (
            f"Not clear: {_count(self.triggered.hits, 'group')} would trigger AXPO, but no prefix was resampled. "
            "Either the run did not use AXPO, or none of its tool calls has a prefix to continue from."
        )


@dataclass
class _Group:
    """The rollouts of one prompt at one step.

    Attributes:
        rollouts: how many there are.
        users: for each rollout that called a tool and has a known outcome, whether it is correct.
        unknown: whether a rollout that called a tool has no known outcome.
        prefixes: for each resampled prefix, whether any continuation is correct.
    """

    rollouts: int = 0
    users: list[bool] = field(default_factory=list)
    unknown: bool = False
    prefixes: dict[int, bool] = field(default_factory=dict)

    @property
    def triggered(self) -> bool:
        return bool(self.users) and not any(self.users) and not self.unknown

    def add(self, rollout: Rollout) -> None:
        correct = rollout.outcome >= CORRECT
        if rollout.is_continuation:
            prefix = rollout.axpo.prefix_id
            self.prefixes[prefix] = correct or self.prefixes.get(prefix, False)
            return
        self.rollouts += 1
        if rollout.trajectory.called and rollout.known_outcome is None:
            self.unknown = True
        elif rollout.trajectory.called:
            self.users.append(correct)


def recovery(rollouts: Iterable[Rollout], slots_a_step: int | None = None) -> Recovery:
    """Count over the rollouts of some training steps.

    Args:
        rollouts: the original rollouts and the continuations, in any order.
        slots_a_step: prefixes that the budget of a step allows, see
            :meth:`verl_mapo.advantages.axpo.AxpoSettings.slots`.
    """
    groups: dict[tuple[int, str], _Group] = defaultdict(_Group)
    for rollout in rollouts:
        groups[rollout.step, rollout.uid].add(rollout)
    all_groups = list(groups.values())
    users = [correct for group in all_groups for correct in group.users]
    with_users = [group for group in all_groups if group.users]
    triggered = [group for group in with_users if group.triggered]
    prefixes = [correct for group in all_groups for correct in group.prefixes.values()]
    steps = len({step for step, _ in groups})
    return Recovery(
        steps=steps,
        users=Rate(len(users), sum(group.rollouts for group in all_groups)),
        correct=Rate(sum(users), len(users)),
        groups=Rate(len(with_users), len(all_groups)),
        triggered=Rate(len(triggered), len(with_users)),
        recovered=Rate(sum(prefixes), len(prefixes)),
        recovered_groups=Rate(sum(any(group.prefixes.values()) for group in triggered), len(triggered)),
        slots=None if slots_a_step is None else Rate(len(prefixes), slots_a_step * steps),
    )


def recovery_of(run: RunData) -> Recovery:
    """Count over all training steps of a run."""
    return recovery(run.training_rollouts(), _slots(run))


def _slots(run: RunData) -> int | None:
    """Prefixes that the budget of a step allows, by the run's configuration.

    None where it does not enable AXPO, or where a part of the questions is recorded, and so a part of the prefixes.
    """
    config = run.config
    if select(config, names.ADV_ESTIMATOR) != names.AXPO or parse(RecordSettings, config).share < 1:
        return None
    return parse(AxpoSettings, config).slots(config.data.train_batch_size * select(config, names.ROLLOUT_N))


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
