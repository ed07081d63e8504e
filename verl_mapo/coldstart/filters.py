# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Which rollouts become supervised rows. Every rollout that does not is counted under one reason."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field, PositiveInt, model_validator
from pydantic.dataclasses import dataclass as settings_dataclass

from verl_mapo.report.load import Rollout
from verl_mapo.rollout.settings import Describe
from verl_mapo.rollout.statuses import EndReason, Explained, LabelFault, TurnStatus
from verl_mapo.rollout.trajectory import Turn
from verl_mapo.settings import STRICT
from verl_mapo.tools.coordinates import Box, iou

Share = Annotated[float, Field(ge=0, le=1)]

_TEXTS: dict[Describe, tuple[str, ...]] = {
    "before": ("label",),
    "after": ("description",),
    "both": ("label", "description"),
}
"""What ``visual_tool.describe`` asks of a visual turn."""


class Removal(Explained):
    """Why a rollout becomes no supervised row, in the order in which the filters are applied."""

    UNKNOWN_QUESTION = "unknown_question", "Its question is in no row of data.train_files."
    NO_TRAJECTORY = "no_trajectory", "Another agent loop made it, which records no turns."
    NO_OUTCOME = "no_outcome", "Its outcome could not be computed."
    WRONG = "wrong", "Its outcome is below --min-outcome."
    UNFINISHED = "unfinished", "It did not end with an answer."
    EMPTY = "empty", "It has no turn, or a turn without text."
    FEW_CALLS = "few_calls", "It has fewer calls than --min-calls."
    MANY_CALLS = "many_calls", "It has more calls than --max-calls."
    FAULTY_CALL = "faulty_call", "A call was refused, or is not spelled as the system message shows."
    NO_LABEL = "no_label", "The image of a call has no label or description of the right length."
    NO_ALIGNMENT = "no_alignment", "The alignment of a call is not known, and --min-alignment is set."
    LOW_ALIGNMENT = "low_alignment", "The alignment of a call is below --min-alignment."
    FAR_BOX = "far_box", "No call reaches --min-iou with a true box of its row."
    LONG = "long", "Its response is longer than --max-tokens."
    DUPLICATE = "duplicate", "Another rollout of its question has the same text."
    PER_QUESTION = "per_question", "Its question has --per-question other rollouts already."
    BALANCE = "balance", "It was drawn to be left out, so that --tool-share is met."


@settings_dataclass(frozen=True, config=STRICT)
class FilterSettings:
    """What a rollout has to be, to become a supervised row. The reasons for the defaults are in docs/papers.md.

    Attributes:
        min_outcome: smallest outcome.
        min_calls: smallest number of tool calls.
        max_calls: largest number of tool calls; None for any.
        unfinished: whether rollouts are kept that did not end with an answer.
        faulty_calls: whether rollouts are kept in which a call was refused, or was read although it is spelled in
            another way, in other units or with text behind it.
        unlabelled: whether rollouts are kept in which the image of a call lacks the label or the description that
            ``visual_tool.describe`` asks for, or has one that is too long.
        min_alignment: smallest alignment of every call of a scored tool; None for any.
        min_iou: smallest IoU that one call of a rollout reaches with one true box, in rows that have true boxes and
            rollouts that have calls; None for any.
        max_tokens: largest number of tokens of the response, observations included; None for any.
        per_question: largest number of rollouts of a question; None for any.
        tool_share: share of the rows that call a tool; the kind that there are too many of is cut. None leaves the
            share as it is.
        seed: decides which rollouts of a question, and of a kind, are taken.
    """

    NODE: ClassVar[str] = "verl-mapo collect"

    min_outcome: float = 1.0
    min_calls: Annotated[int, Field(ge=0)] = 0
    max_calls: Annotated[int, Field(ge=0)] | None = None
    unfinished: bool = False
    faulty_calls: bool = False
    unlabelled: bool = False
    min_alignment: float | None = None
    min_iou: Share | None = None
    max_tokens: PositiveInt | None = None
    per_question: PositiveInt | None = 1
    tool_share: Share | None = None
    seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _can_be_met(self) -> FilterSettings:
        """Refuse filters that together leave no rollout."""
        if self.max_calls is not None and self.min_calls > self.max_calls:
            raise ValueError(
                f"--min-calls {self.min_calls} and --max-calls {self.max_calls} leave no rollout: set --max-calls "
                f"{self.min_calls} or more"
            )
        if self.tool_share and self.max_calls == 0:
            raise ValueError(
                f"--tool-share {self.tool_share} and --max-calls 0 leave no rollout: leave one of them out"
            )
        if self.tool_share is not None and self.tool_share < 1 and self.min_calls:
            raise ValueError(
                f"--tool-share {self.tool_share} and --min-calls {self.min_calls} leave no rollout, because the share "
                "needs rollouts without a call: leave one of them out"
            )
        return self


@dataclass(frozen=True)
class Question:
    """What the filters need to know of a data row.

    Attributes:
        place: its place in the data.
        boxes: true boxes in pixels of its first image.
    """

    place: int
    boxes: Sequence[Box] = ()


@dataclass(frozen=True)
class Candidate:
    """A rollout that passed the filters of single rollouts.

    Attributes:
        source: the name of its run.
        name: what identifies it in that run: split, step, question id and session.
        place: the place of its question in the data.
        turns: the text of each assistant turn.
        calls: number of tool calls.
    """

    source: str
    name: str
    place: int
    turns: tuple[str, ...]
    calls: int

    def rank(self, seed: int) -> bytes:
        """A number that orders candidates at random, and does not depend on the order in which they were read."""
        text = repr((seed, self.place, self.turns)).encode("utf-8", "surrogatepass")
        return hashlib.blake2b(text, digest_size=16).digest()


def removal_of(
    rollout: Rollout, question: Question | None, describe: Describe, settings: FilterSettings
) -> Removal | None:
    """The first filter that a rollout does not pass; None if it passes all filters of single rollouts.

    Args:
        rollout: the record.
        question: the row of its question; None if there is none.
        describe: ``visual_tool.describe`` of the training to come.
        settings: the filters.
    """
    checks: tuple[tuple[Removal, Callable[[], bool]], ...] = (
        (Removal.UNKNOWN_QUESTION, lambda: question is None),
        (Removal.NO_TRAJECTORY, lambda: not rollout.trajectory.turns and rollout.trajectory.end_reason is None),
        (Removal.NO_OUTCOME, lambda: rollout.known_outcome is None),
        (Removal.WRONG, lambda: rollout.outcome < settings.min_outcome),
        (Removal.UNFINISHED, lambda: not (settings.unfinished or _finished(rollout))),
        (Removal.EMPTY, lambda: not _written(rollout)),
        (Removal.FEW_CALLS, lambda: calls < settings.min_calls),
        (Removal.MANY_CALLS, lambda: settings.max_calls is not None and calls > settings.max_calls),
        (Removal.FAULTY_CALL, lambda: not settings.faulty_calls and any(map(_faulty, turns))),
        (Removal.NO_LABEL, lambda: not settings.unlabelled and any(not _labelled(turn, describe) for turn in shown)),
        (Removal.NO_ALIGNMENT, lambda: settings.min_alignment is not None and None in scores),
        (Removal.LOW_ALIGNMENT, lambda: settings.min_alignment is not None and min(scores) < settings.min_alignment),
        (Removal.FAR_BOX, lambda: settings.min_iou is not None and _far(turns, question.boxes, settings.min_iou)),
        (Removal.LONG, lambda: settings.max_tokens is not None and turns[-1].span[1] > settings.max_tokens),
    )
    turns = rollout.trajectory.turns
    calls = call_count(turns)
    shown = [turn for turn in rollout.trajectory.visual_turns if turn.status is TurnStatus.OK]
    scores = [turn.score for turn in rollout.trajectory.visual_turns] or [math.inf]
    return next((removal for removal, fails in checks if fails()), None)


def call_count(turns: Iterable[Turn]) -> int:
    """The number of tool calls, refused ones included."""
    return sum(turn.called for turn in turns)


def _finished(rollout: Rollout) -> bool:
    turns = rollout.trajectory.turns
    return rollout.trajectory.end_reason is EndReason.ANSWER and bool(turns[-1].text.strip())


def _written(rollout: Rollout) -> bool:
    """Whether the model wrote something in every turn, of which there is at least one."""
    texts = ["".join(part.text for part in parts) for parts in rollout.trajectory.assistant_turns]
    return bool(texts) and all(text.strip() for text in texts)


def _faulty(turn: Turn) -> bool:
    spelled_otherwise = turn.lenient or turn.other_units is not None or turn.after_call > 0
    return turn.called and (turn.status is not TurnStatus.OK or spelled_otherwise)


def _labelled(turn: Turn, describe: Describe) -> bool:
    texts = [getattr(turn, name) or "" for name in _TEXTS[describe]]
    return all(text.strip() for text in texts) and not any(fault is not LabelFault.REFUSED for fault in turn.faults)


def _far(turns: Iterable[Turn], boxes: Sequence[Box], least: float) -> bool:
    """Whether no box of a call on the first image reaches an IoU with any true box, if there are both."""
    asked = [turn.box_asked for turn in turns if turn.box_asked is not None and turn.view and turn.view.image == 0]
    return bool(asked and boxes) and max(iou(a, b) for a in asked for b in boxes) < least


def select(
    candidates: Iterable[Candidate], settings: FilterSettings
) -> tuple[list[Candidate], list[tuple[Candidate, Removal]]]:
    """Choose among the rollouts that passed the filters of single rollouts.

    The result depends on the set of candidates and the seed alone.

    Args:
        candidates: in any order.
        settings: ``per_question``, ``tool_share`` and ``seed`` are read.

    Returns:
        The chosen ones in the order of their questions, and the others with the reason.
    """
    key = lambda candidate: (candidate.place, candidate.rank(settings.seed), candidate.source, candidate.name)
    texts: dict[int, set[tuple[str, ...]]] = defaultdict(set)
    kept: list[Candidate] = []
    removed: list[tuple[Candidate, Removal]] = []
    for candidate in sorted(candidates, key=key):
        taken = texts[candidate.place]
        if candidate.turns in taken:
            removed.append((candidate, Removal.DUPLICATE))
        elif settings.per_question is not None and len(taken) >= settings.per_question:
            removed.append((candidate, Removal.PER_QUESTION))
        else:
            taken.add(candidate.turns)
            kept.append(candidate)
    surplus = _surplus(kept, settings)
    removed += [(candidate, Removal.BALANCE) for candidate in kept if candidate in surplus]
    return [candidate for candidate in kept if candidate not in surplus], removed


def _surplus(kept: list[Candidate], settings: FilterSettings) -> set[Candidate]:
    """The candidates to leave out so that ``tool_share`` is met, or just not exceeded by the kind that is cut."""
    share = settings.tool_share
    if share is None:
        return set()
    ordered = sorted(kept, key=lambda candidate: candidate.rank(settings.seed))
    calling = [candidate for candidate in ordered if candidate.calls]
    others = [candidate for candidate in ordered if not candidate.calls]
    if len(calling) > share * len(kept):
        return set(calling[_most(len(others), share) :])
    if len(calling) < share * len(kept):
        return set(others[_most(len(calling), 1 - share) :])
    return set()


def _most(others: int, share: float) -> int:
    """The largest count that is at most a share, below 1, of itself and the others."""
    return math.floor(others * share / (1 - share) + 1e-9)
