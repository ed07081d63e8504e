# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Whether a reply is right, by the answer checks of the package (``ours``) and by the benchmark's (``official``)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from verl_mapo.benchmarks.base import Benchmark
from verl_mapo.benchmarks.official import RULES, Target, yes_or_no
from verl_mapo.rewards.answers import JUDGE, Undecided, extract, find_check, is_right, options_of
from verl_mapo.rewards.choices import choice

TOLERANCE = 1e-4
"""Relative tolerance of numbers, the default of ``reward.description_alignment.tolerance``."""


@dataclass(frozen=True)
class Scored:
    """A judged reply.

    Attributes:
        answer: what was extracted; empty if there is no answer.
        ours: whether it is right by the row's answer check; None where only a judge can tell, or where the check came
            to no result.
        official: whether it is right by the benchmark's rule; None where that rule asks a judge, or came to no result.
        said: the letters or the yes or no that the answer chooses; the answer itself where it has neither.
    """

    answer: str
    ours: bool | None
    official: bool | None
    said: str | None

    @property
    def differ(self) -> bool:
        """Whether both rules have a verdict, and not the same."""
        return None not in (self.ours, self.official) and self.ours != self.official


def target_of_row(row: Mapping[str, Any]) -> Target:
    """What the replies to a neutral row are compared with."""
    target = row["reward_model"]
    return Target(
        truth=target["ground_truth"],
        options=options_of(target["options"]),
        more=json.loads(row["extra_info"]["more"]),
        style=target["style"],
        question=row["prompt"][-1]["content"],
    )


def score(benchmark: Benchmark | type[Benchmark], reply: str, target: Target) -> Scored:
    """Judge the last turn of a rollout.

    Args:
        benchmark: the benchmark of the question.
        reply: the text of the last turn.
        target: what it is compared with.
    """
    answer = extract(reply)
    return Scored(answer, _ours(answer, target), _official(benchmark.rule, reply, target), said_in(answer, target))


def _official(rule: str, reply: str, target: Target) -> bool | None:
    try:
        return RULES[rule](reply, target)
    except Undecided:
        return None


def _ours(answer: str, target: Target) -> bool | None:
    if not answer:
        return False
    check = find_check(target.style)
    truths = target.more.get("answers") or [target.truth]
    verdict = is_right(
        lambda truth: check(answer, truth, options=target.options, tolerance=TOLERANCE),
        truths,
    )
    return None if target.style == JUDGE and not verdict else verdict


def said_in(answer: str, target: Target) -> str | None:
    """The letters or the yes or no that an answer chooses; the answer itself where it has neither; None if it is empty.

    Equal answers of several samples are equal texts, as a vote needs them.
    """
    if target.style == "multiple_choice":
        return choice(answer, target.options)
    if target.style == "yes_no":
        return {"A": "yes", "B": "no"}.get(choice(answer, ("Yes", "No")) or "") or yes_or_no(answer)
    return answer.strip().casefold() or None
