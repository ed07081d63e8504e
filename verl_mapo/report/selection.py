# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Chooses the trajectories that the report shows: a few, in pairs that differ, by rules that the report states."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain, zip_longest
from random import Random
from statistics import fmean, pstdev
from typing import TypeVar

from verl_mapo.advantages.axpo import AxpoSettings
from verl_mapo.columns import CORRECT
from verl_mapo.report.load import HeldOut, Rollout, RunData
from verl_mapo.rollout.parser import OPEN
from verl_mapo.settings import parse

T = TypeVar("T")

PER_CASE = 2
"""Trajectories drawn for one question, side by side."""

MIN_FORKS = 2
"""Smallest number of resampled tool calls that are drawn: one that recovered and one that did not."""


@dataclass(frozen=True)
class Fork:
    """A rollout that AXPO resampled, which is drawn beside its continuations.

    Attributes:
        source: the rollout.
        shared: text of the prefix that its continuations go on from; empty where they are whole new rollouts.
        masked: whether the loss leaves out all of the source after its prefix.
        correct: how many of its continuations are correct.
    """

    source: Rollout
    shared: str
    masked: bool
    correct: int

    @property
    def recovered(self) -> bool:
        """Whether any continuation is correct."""
        return self.correct > 0


@dataclass(frozen=True)
class Case:
    """One question.

    Attributes:
        drawn: the rollouts that are drawn, each with a title that says why.
        rollouts: the rollouts in the table of the question, without continuations.
        fork: set where a source and its continuations are drawn.
    """

    drawn: list[tuple[str, Rollout]]
    rollouts: list[Rollout]
    fork: Fork | None = None


@dataclass(frozen=True)
class Chapter:
    """Cases of one kind.

    Attributes:
        title: the heading.
        rule: how the cases were chosen, in sentences.
        cases: the questions.
        by_token: whether coloured tokens are drawn instead of turns.
    """

    title: str
    rule: str
    cases: list[Case]
    by_token: bool = False


def chapters(run: RunData, samples: int, seed: int) -> list[Chapter]:
    """The trajectories to draw.

    Args:
        run: the run.
        samples: approximate number of trajectories to draw, divided evenly among the chapters; those that are drawn
            token by token are not counted.
        seed: seed of the random choice among equally informative cases.
    """
    random = Random(seed)
    makers: list[Callable[[int], Chapter]] = []
    if run.held_out is not None and run.held_out.pairs:
        held_out = run.held_out
        makers.append(lambda share: _held_out(held_out, max(share // PER_CASE, 1), random))
    if forks := _forks(run):
        makers.append(lambda share: _forked(forks, max(share // len(forks[0].drawn), MIN_FORKS), random))
    for step in run.ends("train"):
        makers.append(
            lambda share, step=step: _groups(run.rollouts(step, "train"), step, max(share // PER_CASE, 1), random)
        )
    if not makers and run.ends("val"):
        step = run.ends("val")[-1]
        makers.append(lambda share: _groups(run.rollouts(step, "val"), step, max(share // PER_CASE, 1), random))
    if samples <= 0:
        return []
    return [*(make(samples // len(makers)) for make in makers), *_by_token(run, random)]


def _held_out(held_out: HeldOut, count: int, random: Random) -> Chapter:
    shuffled = random.sample(held_out.pairs, len(held_out.pairs))
    change = {id(pair): _mean_outcome(pair[1]) - _mean_outcome(pair[0]) for pair in shuffled}
    gained = [pair for pair in shuffled if change[id(pair)] > 0]
    lost = [pair for pair in shuffled if change[id(pair)] < 0]
    same = [pair for pair in shuffled if change[id(pair)] == 0]
    cases = [
        Case([(f"before, step {held_out.first}", first[0]), (f"after, step {held_out.last}", last[0])], [*first, *last])
        for first, last in _alternating(gained, lost, same)[:count]
    ]
    rule = (
        f"Of the {len(held_out.pairs)} questions that were asked both at step {held_out.first} and at step "
        f"{held_out.last}, {len(gained)} got better, {len(lost)} got worse and {len(same)} scored the same. "
        "Shown in turn: one that got better, one that got worse, one that scored the same, each chosen at random."
    )
    return Chapter("Held-out questions, before and after training", rule, cases)


def _forks(run: RunData) -> list[Case]:
    """The resampled prefixes of the last step in which any recovered; if none ever did, of the last step with any."""
    rates = dict(zip(*run.series("axpo/recovery_rate"), strict=True))
    resampled = [step for step in rates if step in run.files["train"]]
    recovered = [step for step in resampled if rates[step] > 0]
    steps = recovered or resampled or run.ends("train")
    rollouts = run.rollouts(steps[-1], "train") if steps else []
    if not any(rollout.is_continuation for rollout in rollouts):
        return []
    masks = parse(AxpoSettings, run.config).unrecovered_source == "mask"
    return [
        _fork(source, continuations, _originals(group), masks)
        for group in _by_prompt(rollouts)
        for source in _originals(group)
        if (continuations := [rollout for rollout in group if _continues(rollout, source)])
    ]


def _fork(source: Rollout, continuations: list[Rollout], originals: list[Rollout], masks: bool) -> Case:
    """The case of a source.

    Args:
        source: an original rollout with continuations.
        continuations: the continuations of this source.
        originals: all original rollouts of the prompt.
        masks: whether the run masks a source without a correct continuation.
    """
    correct = sum(rollout.outcome >= CORRECT for rollout in continuations)
    before, tag, _ = source.trajectory.turns[0].text.partition(OPEN)
    shared = before + tag if source.is_source else ""
    fork = Fork(source, shared, source.is_source and (correct > 0 or masks), correct)
    kind = "continuation" if shared else "new rollout"
    drawn = [(f"#{rollout.session}, {kind}", rollout) for rollout in sorted(continuations, key=_session)]
    return Case([(f"#{source.session}, the source", source), *drawn], sorted(originals, key=_session), fork)


def _forked(cases: list[Case], count: int, random: Random) -> Chapter:
    step = cases[0].fork.source.step
    shuffled = random.sample(cases, len(cases))
    recovered = [case for case in shuffled if case.fork.recovered]
    others = [case for case in shuffled if not case.fork.recovered]
    when = f" Step {step} is the last step in which any recovered." if recovered else ""
    rule = (
        f"{len(recovered)} of the {len(cases)} tool calls that were resampled in step {step} recovered: at least one "
        f"of their continuations is correct.{when} Shown in turn: one that recovered, one that did not, each chosen "
        "at random. The table lists the original rollouts of the question."
    )
    return Chapter(f"Resampled tool calls, step {step}", rule, _alternating(recovered, others)[:count])


def _groups(rollouts: list[Rollout], step: int, count: int, random: Random) -> Chapter:
    groups = [_originals(group) for group in _by_prompt(rollouts)]
    telling, mixed = _telling(groups, random)
    rule = (
        f"{mixed} of the {len(groups)} prompts have rollouts that differ in outcome. These are shown first, then "
        "prompts whose rollouts differ in alignment, chosen at random. For each prompt, the rollouts with the "
        "highest and with the lowest advantage are drawn; the table lists all of them."
    )
    if sum(map(len, groups)) < len(rollouts):
        rule += " Continuations that AXPO added are left out."
    return Chapter(f"Groups of one prompt, step {step}", rule, [_contrast(group) for group in telling[:count]])


def _by_token(run: RunData, random: Random) -> list[Chapter]:
    """One group of the last step, token by token; no chapter where no focus was recorded."""
    last = chain.from_iterable(run.rollouts(step, "train") for step in run.ends("train")[-1:])
    groups = _by_prompt([rollout for rollout in last if rollout.has_focus and not rollout.is_continuation])
    if not groups:
        return []
    telling, mixed = _telling(groups, random)
    step = groups[0][0].step
    rule = (
        f"{mixed} of the {len(groups)} prompts whose tokens were recorded have rollouts that differ in outcome. One "
        "of these (if there is any) was chosen at random, and its rollouts with the highest and with the lowest "
        "advantage are drawn. Focus is the cosine similarity between a token's hidden state and the mean hidden "
        "state of the images, mapped to the range from 0 to 1. Visual credit is computed from it; it does not "
        "measure attention. Point at a token to see its numbers."
    )
    return [Chapter(f"Focus and advantage of each token, step {step}", rule, [_contrast(telling[0])], by_token=True)]


def _telling(groups: list[list[Rollout]], random: Random) -> tuple[list[list[Rollout]], int]:
    """The groups in random order, first those that differ in outcome, then in alignment; and how many the first are."""
    shuffled = random.sample(groups, len(groups))
    telling = sorted(shuffled, key=lambda group: (_spread(_outcomes(group)) == 0, _spread(_alignments(group)) == 0))
    return telling, sum(_spread(_outcomes(group)) > 0 for group in groups)


def _contrast(group: list[Rollout]) -> Case:
    ranked = sorted(group, key=_rank, reverse=True)
    names = ["highest advantage", "lowest advantage"] if len(ranked) > 1 else ["the only rollout"]
    ends = zip(names, [ranked[0], ranked[-1]], strict=False)
    return Case([(f"#{rollout.session}, {name}", rollout) for name, rollout in ends], group)


def _by_prompt(rollouts: list[Rollout]) -> list[list[Rollout]]:
    groups: dict[str, list[Rollout]] = {}
    for rollout in rollouts:
        groups.setdefault(rollout.uid, []).append(rollout)
    return list(groups.values())


def _originals(group: list[Rollout]) -> list[Rollout]:
    return [rollout for rollout in group if not rollout.is_continuation]


def _continues(rollout: Rollout, source: Rollout) -> bool:
    return rollout.is_continuation and rollout.axpo.prefix_id == source.session


def _alternating(*kinds: list[T]) -> list[T]:
    """One of each kind in turn, until all are used."""
    return [each for each in chain.from_iterable(zip_longest(*kinds)) if each is not None]


def _session(rollout: Rollout) -> int:
    return rollout.session


def _rank(rollout: Rollout) -> tuple[float, float, float]:
    first = rollout.outcome if rollout.advantage is None else rollout.advantage
    return first, rollout.outcome, -1.0 if rollout.alignment is None else rollout.alignment


def _mean_outcome(rollouts: Iterable[Rollout]) -> float:
    return fmean(rollout.outcome for rollout in rollouts)


def _outcomes(group: list[Rollout]) -> list[float]:
    return [rollout.outcome for rollout in group]


def _alignments(group: list[Rollout]) -> list[float]:
    return [rollout.alignment for rollout in group if rollout.alignment is not None]


def _spread(values: list[float]) -> float:
    return pstdev(values) if values else 0.0
