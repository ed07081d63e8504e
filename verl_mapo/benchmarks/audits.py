# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""What the audits of a run say about each benchmark: do its answers come from the looks?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from omegaconf import OmegaConf
from pydantic import ConfigDict

from verl_mapo.benchmarks.causes import ToolEffects, mode_adaptiveness, tool_effects
from verl_mapo.benchmarks.comparison import check_same_questions
from verl_mapo.benchmarks.statistics import Estimate, ratio
from verl_mapo.names import VISUAL_TOOL_NODE
from verl_mapo.run_folder import RunFolder
from verl_mapo.settings import STRICT, ConfigError, select

if TYPE_CHECKING:
    from verl_mapo.benchmarks.answers import QuestionAnswers
    from verl_mapo.rollout.trajectory import Trajectory

DIRECT_SAMPLES = 5
"""Answers without tools from which Beacon tells how hard a question is."""

Verdicts = Callable[[str, float], dict[str, bool | None]]
"""The verdicts by rule on a reply and its reward."""


@dataclass(frozen=True)
class JudgedSwap:
    """What a sample answers after one swap.

    Attributes:
        evidence: log-probability of the right answer directly after the swapped look, in nats; None where it is not
            known.
        ours, official: the verdicts on the new reply; None without one.
    """

    evidence: float | None
    ours: bool | None
    official: bool | None

    __pydantic_config__: ClassVar[ConfigDict] = STRICT


@dataclass(frozen=True)
class JudgedAudit:
    """The audit of a sample.

    Attributes:
        evidence: as that of a swap, after the real look.
        swaps: by their kind, see :class:`verl_mapo.rollout.swaps.AuditSettings`.
    """

    evidence: float | None
    swaps: dict[str, JudgedSwap]

    __pydantic_config__: ClassVar[ConfigDict] = STRICT


def judged_audit(trajectory: Trajectory, verdicts: Verdicts) -> JudgedAudit | None:
    """The audit of a sample with the verdicts on its replies; None without one.

    Args:
        trajectory: the sample.
        verdicts: judges a reply.
    """
    audit = trajectory.audit
    if audit is None:
        return None
    unknown = {"ours": None, "official": None}
    swaps = {
        swap.kind: JudgedSwap(
            swap.evidence,
            **(unknown if swap.error else verdicts(swap.reply, 0.0 if swap.outcome is None else swap.outcome)),
        )
        for swap in audit.swaps
    }
    return JudgedAudit(audit.evidence, swaps)


@dataclass(frozen=True)
class SwapEffect:
    """What one kind of swap does to the answers to a benchmark.

    Samples without a verdict count as not right, and questions are the units of the intervals.

    Attributes:
        kind: see :class:`verl_mapo.rollout.swaps.AuditSettings`.
        looks: number of audited samples for which this swap was possible.
        accuracy: the share of them that is right as they were.
        swapped: the share of them that is right after the swap.
        without_looking: the share of the right ones that stays right; None where none is right.
        evidence: mean of log p(truth | real look) - log p(truth | swapped look) in nats; None where the engine gave no
            log-probabilities.
    """

    kind: str
    looks: int
    accuracy: Estimate
    swapped: Estimate
    without_looking: Estimate | None
    evidence: Estimate | None


@dataclass(frozen=True)
class Causes:
    """Whether the looks cause the answers to a benchmark.

    Attributes:
        benchmark: its name.
        questions, samples: number of questions, and of samples of each with tools.
        lost: numbers of samples that an error left without an answer, with tools and without; they are not right.
        effects: MED's terms.
        swaps: in the order of the audits' settings; empty without audits.
        adaptiveness: Beacon's mode adaptiveness; None where no question is hard, or none is easy, and with fewer than
            :data:`DIRECT_SAMPLES` answers without tools.
        alignment: mean alignment of label and crop over the samples that have one; None without any.
        iou: mean best IoU of the executed boxes with the true ones, over all samples of questions with boxes; None
            without any.
        hit: the share of these samples whose IoU is above 0; None without any.
    """

    benchmark: str
    questions: int
    samples: int
    lost: tuple[int, int]
    effects: ToolEffects
    swaps: list[SwapEffect] = field(default_factory=list)
    adaptiveness: float | None = None
    alignment: Estimate | None = None
    iou: Estimate | None = None
    hit: Estimate | None = None


def causes_of(
    with_tools: Sequence[QuestionAnswers], without: Sequence[QuestionAnswers], rule: str = "ours"
) -> dict[str, Causes]:
    """The causes of each benchmark; the samples of a question are paired in their order for MED's terms.

    Args:
        with_tools: the answers of a run with tools, audited or not.
        without: the answers to the same questions without tools.
        rule: ``ours`` or ``official``; a sample without verdict is not right.

    Raises:
        ConfigError: the runs answered different questions, or a question a different number of times; or the answers
            show that the run without tools is the one with them.
    """
    _check_looks(with_tools, without)
    direct = {(answer.benchmark, answer.id): answer for answer in without}
    looked = {(answer.benchmark, answer.id): answer for answer in with_tools}
    truths = ({place: answer.truth for place, answer in found.items()} for found in (looked, direct))
    check_same_questions("the run with tools", next(truths), "the run without", next(truths))
    for (benchmark, name), answer in looked.items():
        counts = len(answer.ours), len(direct[benchmark, name].ours)
        if counts[0] != counts[1]:
            raise ConfigError(
                f"{benchmark} {name} has {counts[0]} answers with tools and {counts[1]} without: ask both with the "
                "same number of samples."
            )
    found = {}
    for benchmark in dict.fromkeys(place[0] for place in looked):
        places = [place for place in looked if place[0] == benchmark]
        found[benchmark] = _causes(
            benchmark, [looked[each] for each in places], [direct[each] for each in places], rule
        )
    return found


_ORDER = "give the answers of the run with tools first, and then those of the run without."


def check_order(with_tools: Path, without: Path) -> None:
    """Refuse two runs in the wrong order, as far as their folders hold the settings of the run.

    Args:
        with_tools, without: the folders.

    Raises:
        ConfigError: the first run declared no tool, or the second one declared some.
    """
    for name, folder, wrong in (("WITH_TOOLS", with_tools, False), ("WITHOUT", without, True)):
        file = RunFolder(folder).config
        tools = select(OmegaConf.load(file), f"{VISUAL_TOOL_NODE}.tools") if file.is_file() else None
        if tools is not None and bool(tools) is wrong:
            raise ConfigError(f"{name} {folder} is a run with {VISUAL_TOOL_NODE}.tools=[{', '.join(tools)}]: {_ORDER}")


def _check_looks(with_tools: Sequence[QuestionAnswers], without: Sequence[QuestionAnswers]) -> None:
    """Refuse answers in the wrong order. A call that a model without tools writes all the same is none of its signs."""
    looks = sum(audit is not None for answer in without for audit in answer.audit)
    if looks:
        raise ConfigError(f"The run without tools has {looks} audited looks: {_ORDER}")
    with_calls, calls = (sum(sum(answer.called) for answer in answers) for answers in (with_tools, without))
    if calls and not with_calls:
        raise ConfigError(f"The run with tools has no call of a tool, and the run without has {calls}: {_ORDER}")


def _causes(benchmark: str, looked: Sequence[QuestionAnswers], direct: Sequence[QuestionAnswers], rule: str) -> Causes:
    right = [[one is True for one in getattr(answer, rule)] for answer in looked]
    before = [[one is True for one in getattr(answer, rule)] for answer in direct]
    called = [answer.called for answer in looked]
    groups = [answer.group for answer in looked]
    kinds = dict.fromkeys(kind for answer in looked for audit in answer.audit if audit for kind in audit.swaps)
    flat = [np.array([one for row in rows for one in row], bool) for rows in (before, right, called)]
    return Causes(
        benchmark,
        len(looked),
        len(right[0]),
        tuple(sum(bool(error) for answer in answers for error in answer.error) for answers in (looked, direct)),
        tool_effects(*flat),
        [_swap_effect(kind, looked, right, rule) for kind in kinds],
        _adaptiveness(before, called),
        _mean([answer.alignment for answer in looked], groups),
        _mean([answer.iou for answer in looked], groups),
        _mean([[None if one is None else float(one > 0) for one in answer.iou] for answer in looked], groups),
    )


def _adaptiveness(before: Sequence[Sequence[bool]], called: Sequence[Sequence[bool]]) -> float | None:
    if min(map(len, before)) < DIRECT_SAMPLES:
        return None
    counts = [sum(row[:DIRECT_SAMPLES]) for row in before for _ in row]
    return mode_adaptiveness(np.array([one for row in called for one in row]), np.array(counts))


def _swap_effect(
    kind: str, answers: Sequence[QuestionAnswers], right: Sequence[Sequence[bool]], rule: str
) -> SwapEffect:
    looks = np.zeros((len(answers), 5))  # looks, right, right after the swap, both, and looks with evidence
    gains = np.zeros(len(answers))
    for place, (answer, verdicts) in enumerate(zip(answers, right, strict=True)):
        for audit, real in zip(answer.audit, verdicts, strict=False):  # earlier versions have no audits
            swap = audit and audit.swaps.get(kind)
            if swap is None:
                continue
            after = getattr(swap, rule) is True
            known = None not in (audit.evidence, swap.evidence)
            looks[place] += [1, real, after, real and after, known]
            gains[place] += audit.evidence - swap.evidence if known else 0.0
    groups = [answer.group for answer in answers]
    total, was_right, after, both, known = looks.T
    return SwapEffect(
        kind,
        int(total.sum()),
        ratio(was_right, total, groups),
        ratio(after, total, groups),
        ratio(both, was_right, groups) if was_right.any() else None,
        ratio(gains, known, groups) if known.any() else None,
    )


def _mean(values: Iterable[Sequence[float | None]], groups: Sequence[str]) -> Estimate | None:
    """The mean over the samples that have a value, with its interval over questions."""
    known = [[one for one in row if one is not None] for row in values]
    sums, counts = np.array([[sum(row), len(row)] for row in known], float).T
    return ratio(sums, counts, groups) if counts.any() else None
