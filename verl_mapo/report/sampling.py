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
"""Which trajectories a reader is shown: few, in pairs that differ, and chosen by a rule that is printed beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain, zip_longest
from random import Random
from statistics import fmean, pstdev
from typing import TypeVar

from verl_mapo.advantages.axpo import AxpoSettings
from verl_mapo.columns import CORRECT
from verl_mapo.report.load import HeldOut, Rollout, Run
from verl_mapo.rollout.parser import OPEN
from verl_mapo.settings import parse

T = TypeVar("T")

PER_CASE = 2
"""Trajectories drawn for one question, side by side."""


FORKS = 2
"""Resampled prefixes that are drawn at least: one that recovered and one that did not."""


@dataclass(frozen=True)
class Fork:
    """A rollout that AXPO resampled.

    Attributes:
        source: the rollout.
        shared: the prefix that its continuations go on from, as text; empty where they are whole rollouts.
        masked: whether all of the source behind its prefix is masked out.
        right: how many of its continuations are right.
    """

    source: Rollout
    shared: str
    masked: bool
    right: int

    @property
    def recovered(self) -> bool:
        """Whether any continuation is right."""
        return self.right > 0


@dataclass(frozen=True)
class Case:
    """One question.

    Attributes:
        drawn: the rollouts that are drawn, with a word on what each of them is.
        rollouts: its rollouts that are told of in the table, without any continuations.
        fork: set where a source and its continuations are drawn.
    """

    drawn: list[tuple[str, Rollout]]
    rollouts: list[Rollout]
    fork: Fork | None = None


@dataclass(frozen=True)
class Chapter:
    """Cases of one kind, with the sentence that says how they were chosen.

    Attributes:
        tinted: whether their tokens are drawn, by what they were given, and not their turns.
    """

    title: str
    rule: str
    cases: list[Case]
    tinted: bool = False


def chapters(run: Run, samples: int, seed: int) -> list[Chapter]:
    """The trajectories to draw.

    Args:
        samples: about how many trajectories to draw in all, shared evenly by the chapters; those whose tokens are
            drawn are not counted.
        seed: of the chance that decides between cases which are equally telling.
    """
    random = Random(seed)
    makers: list[Callable[[int], Chapter]] = []
    if run.held_out is not None and run.held_out.pairs:
        held_out = run.held_out
        makers.append(lambda share: _held_out(held_out, max(share // PER_CASE, 1), random))
    if forks := _forks(run):
        makers.append(lambda share: _forked(forks, max(share // len(forks[0].drawn), FORKS), random))
    for step in run.ends("train"):
        makers.append(
            lambda share, step=step: _groups(run.rollouts(step, "train"), step, max(share // PER_CASE, 1), random)
        )
    if not makers and run.ends("val"):
        step = run.ends("val")[-1]
        makers.append(lambda share: _groups(run.rollouts(step, "val"), step, max(share // PER_CASE, 1), random))
    if samples <= 0:
        return []
    return [*(make(samples // len(makers)) for make in makers), *_focused(run, random)]


def _held_out(held_out: HeldOut, count: int, random: Random) -> Chapter:
    shuffled = random.sample(held_out.pairs, len(held_out.pairs))
    change = {id(pair): _mean_outcome(pair[1]) - _mean_outcome(pair[0]) for pair in shuffled}
    gained = [pair for pair in shuffled if change[id(pair)] > 0]
    lost = [pair for pair in shuffled if change[id(pair)] < 0]
    same = [pair for pair in shuffled if change[id(pair)] == 0]
    cases = [
        Case([(f"then, step {held_out.first}", before[0]), (f"now, step {held_out.last}", after[0])], [*before, *after])
        for before, after in _in_turn(gained, lost, same)[:count]
    ]
    rule = (
        f"Of {len(held_out.pairs)} questions that were asked at step {held_out.first} and at step {held_out.last}, "
        f"{len(gained)} got better, {len(lost)} got worse and {len(same)} scored the same. "
        "Shown in turn: one that got better, one that got worse, one that did not change, each drawn by chance."
    )
    return Chapter("Held-out questions, then and now", rule, cases)


def _forks(run: Run) -> list[Case]:
    """The resampled prefixes of the last step in which any recovered; where none ever did, of the last with any."""
    rates = dict(zip(*run.series("axpo/recovery_rate"), strict=True))
    resampled = [step for step in rates if step in run.files["train"]]
    recovered = [step for step in resampled if rates[step] > 0]
    steps = recovered or resampled or run.ends("train")
    rollouts = run.rollouts(steps[-1], "train") if steps else []
    if all(rollout.role != "resample" for rollout in rollouts):
        return []
    masks = parse(AxpoSettings, run.config).unrecovered_source == "mask"
    return [
        _fork(source, continuations, _originals(group), masks)
        for group in _by_prompt(rollouts)
        for source in _originals(group)
        if (continuations := [rollout for rollout in group if _continues(rollout, source)])
    ]


def _fork(source: Rollout, continuations: list[Rollout], originals: list[Rollout], masks: bool) -> Case:
    right = sum(rollout.outcome >= CORRECT for rollout in continuations)
    before, tag, _ = source.trajectory["turns"][0]["text"].partition(OPEN)
    shared = before + tag if source.role == "source" else ""
    fork = Fork(source, shared, source.role == "source" and (right > 0 or masks), right)
    kind = "continuation" if shared else "rolled out anew"
    drawn = [(f"#{rollout.session}, {kind}", rollout) for rollout in sorted(continuations, key=_session)]
    return Case([(f"#{source.session}, the source", source), *drawn], sorted(originals, key=_session), fork)


def _forked(cases: list[Case], count: int, random: Random) -> Chapter:
    step = cases[0].fork.source.step
    shuffled = random.sample(cases, len(cases))
    recovered = [case for case in shuffled if case.fork.recovered]
    others = [case for case in shuffled if not case.fork.recovered]
    when = f"Step {step} is the last in which any did. " if recovered else ""
    rule = (
        f"Of {len(cases)} tool calls that were resampled in step {step}, {len(recovered)} recovered: a continuation "
        f"is right. {when}Shown in turn: one that recovered, one that did not, each drawn by chance. The table has the "
        "rollouts of the question."
    )
    return Chapter(f"Resampled tool calls, step {step}", rule, _in_turn(recovered, others)[:count])


def _groups(rollouts: list[Rollout], step: int, count: int, random: Random) -> Chapter:
    groups = [_originals(group) for group in _by_prompt(rollouts)]
    telling, mixed = _telling(groups, random)
    rule = (
        f"Of {len(groups)} prompts, {mixed} had rollouts that differed in outcome. Those come first, then those that "
        "differed in alignment, drawn by chance. Of each group the rollouts with the highest and with the lowest "
        "advantage are drawn; its table has all of them."
    )
    if sum(map(len, groups)) < len(rollouts):
        rule += " Continuations that AXPO added are left out here."
    return Chapter(f"Groups of one prompt, step {step}", rule, [_contrast(group) for group in telling[:count]])


def _focused(run: Run, random: Random) -> list[Chapter]:
    """One group of the last step, token by token; no chapter where no focus was written down."""
    last = chain.from_iterable(run.rollouts(step, "train") for step in run.ends("train")[-1:])
    groups = _by_prompt([rollout for rollout in last if rollout.focused and rollout.role != "resample"])
    if not groups:
        return []
    telling, mixed = _telling(groups, random)
    step = groups[0][0].step
    rule = (
        f"Of {len(groups)} prompts whose tokens were written down, {mixed} had rollouts that differed in outcome. One "
        "of those where there are any, drawn by chance, with its rollouts of highest and of lowest advantage. Focus is "
        "how alike a token's state and the images' mean state are, 0 opposite and 1 the same: what visual credit goes "
        "by, and no measurement of attention. A token under the pointer shows its numbers."
    )
    return [Chapter(f"Where the model looks, step {step}", rule, [_contrast(telling[0])], tinted=True)]


def _telling(groups: list[list[Rollout]], random: Random) -> tuple[list[list[Rollout]], int]:
    """Groups that differ in outcome, then those that differ in alignment, by chance; and the number of the former."""
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
    return [rollout for rollout in group if rollout.role != "resample"]


def _continues(rollout: Rollout, source: Rollout) -> bool:
    return rollout.role == "resample" and rollout.axpo["prefix_id"] == source.session


def _in_turn(*kinds: list[T]) -> list[T]:
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
