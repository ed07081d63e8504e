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
"""Whether AXPO finds anything to recover: how often it is triggered, and how often a resampled prefix comes out right.

What it knows: the records of rollouts, and how many prefixes a step may resample. What it does not know: how they were
rolled out, or whether anything was learnt from them.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from statistics import NormalDist
from typing import Any

from verl_mapo.advantages.axpo import AxpoSettings
from verl_mapo.columns import CORRECT
from verl_mapo.report.load import Run, lines
from verl_mapo.report.pictures import called
from verl_mapo.settings import parse, select

Z = NormalDist().inv_cdf(0.975)
"""Half the width of a 95 % interval, in standard errors."""

NULL = 0.05
"""Share of resampled prefixes below which AXPO is not expected to gain anything."""

REFERENCE = (
    "The paper reports about 12% of triggered groups recovered per step; an independent port, with 1 of 59 prefixes "
    "recovered (1.7%), found no gain."
)


def wilson(share: float, total: float) -> tuple[float, float]:
    """The 95 % interval of Wilson's score: every p with ``|share - p| <= Z sqrt(p (1 - p) / total)``.

    Args:
        share: what was observed, in [0, 1].
        total: how many were observed, > 0.
    """
    shrink = 1 + Z**2 / total
    centre = (share + Z**2 / (2 * total)) / shrink
    half = Z * math.sqrt(share * (1 - share) / total + (Z / (2 * total)) ** 2) / shrink
    return max(0.0, centre - half), min(1.0, centre + half)


def all_wrong_rate(tool_rate: float, accuracy: float, n: float) -> float:
    """How often a group's tool users are all wrong, among groups that have any, were all rollouts independent.

    Each of n rollouts calls with probability t, and is right with probability q if it does. None of them is then a
    right tool user with probability (1 - tq)^n, and none is a tool user with (1 - t)^n, so

        P(all wrong | some called) = ((1 - tq)^n - (1 - t)^n) / (1 - (1 - t)^n)

    The paper's diagnosis, 0.4 at t = 0.3, is q = 0.33 with its n = 8. Questions that are not equally hard raise the
    rate above this.

    Args:
        tool_rate: t, in (0, 1].
        accuracy: q, in [0, 1].
        n: rollouts of a group.
    """
    nobody = (1 - tool_rate) ** n
    return ((1 - tool_rate * accuracy) ** n - nobody) / (1 - nobody)


@dataclass(frozen=True)
class Rate:
    """``hits`` of ``total``."""

    hits: int
    total: int

    @property
    def share(self) -> float | None:
        """None of nothing."""
        return self.hits / self.total if self.total else None

    @property
    def interval(self) -> tuple[float, float]:
        """Of 95 %, by :func:`wilson`; (0, 1) while nothing was observed."""
        return wilson(self.hits / self.total, self.total) if self.total else (0.0, 1.0)


@dataclass(frozen=True)
class Recovery:
    """What AXPO found in some steps. A *rollout* is an original one here; what goes on from a prefix is a continuation.

    The intervals take prefixes for independent, which several of one question are not quite, and their lower ends are
    bold where hits are few: 1 of 3 has 6 %.

    Attributes:
        steps: how many.
        users: rollouts that called a tool, of all rollouts.
        right: rollouts that are right, of those that called.
        groups: groups with a rollout that called, of all groups.
        triggered: groups in which all of those are wrong, of the groups that have any.
        recovered: prefixes of which a continuation is right, of those resampled.
        recovered_groups: groups with such a prefix, of those triggered, resampled or not.
        slots: prefixes resampled, of those the budget of all steps pays for; None where the run does not say.
    """

    steps: int
    users: Rate
    right: Rate
    groups: Rate
    triggered: Rate
    recovered: Rate
    recovered_groups: Rate
    slots: Rate | None

    @property
    def expected(self) -> float | None:
        """The share of ``triggered``, were rollouts independent (:func:`all_wrong_rate`); None without tool users."""
        if self.right.share is None:
            return None
        return all_wrong_rate(self.users.share, self.right.share, self.users.total / self.groups.total)

    @property
    def more_steps(self) -> int | None:
        """Further steps after which the interval of ``recovered`` would exclude :data:`NULL`, should its share stay.

        0 where it does; None where no number of steps would do, or nothing was resampled.
        """
        if self.recovered.share in (None, NULL):
            return None
        needed = Z**2 * NULL * (1 - NULL) / (self.recovered.share - NULL) ** 2
        return max(0, math.floor((needed / self.recovered.total - 1) * self.steps) + 1)

    @property
    def verdict(self) -> str:
        """Will AXPO have anything to recover here? Yes, no or not clear, and why."""
        if not self.recovered.total:
            return self._nothing_resampled()
        low, high = self.recovered.interval
        if high < NULL:
            return f"No: at most {high:.1%} of prefixes recover; below about {NULL:.0%} expect a null result."
        if low > NULL:
            return f"Yes: at least {low:.1%} of prefixes recover; only below about {NULL:.0%} expect a null result."
        unclear = (
            f"Not clear yet: between {low:.1%} and {high:.1%} of prefixes recover; below about {NULL:.0%} expect a "
            "null result."
        )
        if self.more_steps is None:
            return f"{unclear} The rate so far is exactly there: no number of steps at this rate would tell."
        more = _count(self.more_steps, "more step")
        return f"{unclear} At the rate so far {more} would tell, {self.steps + self.more_steps:,} in all."

    def _nothing_resampled(self) -> str:
        if not self.users.total:
            return "Not clear: there are no rollouts."
        if not self.users.hits:
            return f"No: none of {self.users.total} rollouts called a tool, and AXPO resamples nothing but tool calls."
        if not self.triggered.hits:
            return (
                f"No, as far as {_count(self.triggered.total, 'group')} with tool users can tell: in each of them a "
                f"tool user is right, so nothing triggers (at most {self.triggered.interval[1]:.1%} of groups would)."
            )
        return (
            f"Not clear: {_count(self.triggered.hits, 'group')} would trigger, but no prefix was resampled: this run "
            "was not rolled out with AXPO, or none of the calls could be cut off after a prefix."
        )


@dataclass
class _Group:
    """A question of a step: ``users`` says of each rollout that called whether it is right, ``prefixes`` of each
    resampled prefix whether a continuation is."""

    rollouts: int = 0
    users: list[bool] = field(default_factory=list)
    prefixes: dict[int, bool] = field(default_factory=dict)

    @property
    def triggered(self) -> bool:
        return bool(self.users) and not any(self.users)

    def add(self, record: Mapping[str, Any]) -> None:
        right, axpo = record["outcome"] >= CORRECT, record.get("axpo")  # absent before there was AXPO
        if axpo and axpo["role"] == "resample":
            self.prefixes[axpo["prefix_id"]] = right or self.prefixes.get(axpo["prefix_id"], False)
            return
        self.rollouts += 1
        if any(map(called, (record["trajectory"] or {"turns": ()})["turns"])):
            self.users.append(right)


def recovery(records: Iterable[Mapping[str, Any]], slots_a_step: int | None = None) -> Recovery:
    """Count what happened to the rollouts of some steps.

    Args:
        records: as :func:`verl_mapo.training.records.describe_rows` makes them, of training, in any order.
        slots_a_step: prefixes that the budget of a step pays for, :meth:`verl_mapo.advantages.axpo.AxpoSettings.slots`.
    """
    groups: dict[tuple[int, str], _Group] = defaultdict(_Group)
    for record in records:
        groups[record["step"], record["uid"]].add(record)
    all_groups = list(groups.values())
    users = [right for group in all_groups for right in group.users]
    called_in = [group for group in all_groups if group.users]
    triggered = [group for group in called_in if group.triggered]
    prefixes = [right for group in all_groups for right in group.prefixes.values()]
    steps = len({step for step, _ in groups})
    return Recovery(
        steps=steps,
        users=Rate(len(users), sum(group.rollouts for group in all_groups)),
        right=Rate(sum(users), len(users)),
        groups=Rate(len(called_in), len(all_groups)),
        triggered=Rate(len(triggered), len(called_in)),
        recovered=Rate(sum(prefixes), len(prefixes)),
        recovered_groups=Rate(sum(any(group.prefixes.values()) for group in triggered), len(triggered)),
        slots=None if slots_a_step is None else Rate(len(prefixes), slots_a_step * steps),
    )


def recovery_of(run: Run) -> Recovery:
    """Count over all training steps of a run."""
    return recovery(_records(run), _slots(run))


def _records(run: Run) -> Iterator[dict[str, Any]]:
    return chain.from_iterable(map(lines, run.files["train"].values()))


def _slots(run: Run) -> int | None:
    """Slots of a step, as the run's configuration has them; None without AXPO."""
    config = run.config
    if select(config, "algorithm.adv_estimator") != "axpo":
        return None
    n_rollouts = config.data.train_batch_size * config.actor_rollout_ref.rollout.n
    return parse(AxpoSettings, config).slots(n_rollouts)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
