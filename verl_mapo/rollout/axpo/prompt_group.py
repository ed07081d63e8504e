# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Bookkeeping for one prompt under AXPO: whether it triggers, which rollouts to resample, and the role of each row.

This module knows nothing of engines, queues or slots.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

import torch

from verl_mapo.advantages.axpo import AxpoSettings
from verl_mapo.columns import AXPO_COLUMNS, CONTINUATION, CORRECT, PLAIN, SOURCE
from verl_mapo.rollout.axpo.first_call import FirstCall
from verl_mapo.rollout.state import LoopState


@dataclass(frozen=True)
class FinishedRollout:
    """One rollout that has ended and was scored.

    Attributes:
        keys: the keys of its rows in TransferQueue.
        state: the state in which it ended; None for an agent loop that cannot be continued.
        outcome: its reward; None if it is not known, see :attr:`verl_mapo.rollout.trajectory.Trajectory.error`.
        call: its first tool call; None if there is no call that a continuation could start from.
    """

    keys: list[str]
    state: LoopState | None
    outcome: float | None
    call: FirstCall | None = None

    @property
    def used_tools(self) -> bool:
        """Whether it tried to call a tool at least once."""
        return self.state is not None and self.state.trajectory.called


@dataclass
class Continuations:
    """The continuations of one prefix.

    Attributes:
        source: session number of the rollout that the prefix belongs to.
        prefix_length: number of response tokens of the prefix; 0 for fresh rollouts.
        keys: the keys of the rows of the continuations that were scored.
        lost: number of continuations that failed with an exception.
    """

    source: int
    prefix_length: int
    keys: list[str] = field(default_factory=list)
    lost: int = 0


class PromptGroup:
    """The rollouts of one prompt.

    Args:
        n: the number of original rollouts.

    Attributes:
        running: number of original rollouts that have not ended.
        failed: whether one of them failed with an exception; such a group gets no continuations.
        submitted: whether its slots were requested, which every group does once.
        finished: the original rollouts that were scored, by session number.
        continuations: one entry for each prefix that got a slot.
        seconds: time from the end of the last original rollout until the last continuation has ended.
    """

    def __init__(self, n: int):
        self.n = self.running = n
        self.failed = self.submitted = False
        self.finished: dict[int, FinishedRollout] = {}
        self.continuations: list[Continuations] = []
        self.seconds = 0.0

    @property
    def triggered(self) -> bool:
        """AXPO's trigger: some rollouts used tools, and all of those are wrong. The other rollouts do not count.

        A tool user whose outcome is not known is not known to be wrong.
        """
        users = [rollout for rollout in self.finished.values() if rollout.used_tools]
        known = all(user.outcome is not None for user in users)
        return bool(users) and known and not self.failed and all(user.outcome < CORRECT for user in users)

    def candidates(self, settings: AxpoSettings, rng: Random) -> list[tuple[float, int]]:
        """The prefixes that could be resampled, the most uncertain first; empty unless the group triggers.

        Args:
            settings: ``prefix_rank`` is read.
            rng: source of randomness for the rank ``random``.

        Returns:
            (score, session number) for each, smallest score first.
        """
        if not self.triggered:
            return []
        calls = {session: rollout.call for session, rollout in self.finished.items() if rollout.call}
        score = {
            "confidence": lambda call: call.confidence,
            "entropy": lambda call: -call.entropy,
            "random": lambda _: rng.random(),
        }[settings.prefix_rank]
        return sorted((score(calls[session]), session) for session in sorted(calls))

    def columns(self) -> tuple[list[str], dict[str, torch.Tensor]]:
        """The keys of all rows of the prompt, and their tensors of :data:`verl_mapo.columns.AXPO_COLUMNS` by name."""
        by_source = {continuations.source: continuations for continuations in self.continuations}
        rows = []
        for session, rollout in self.finished.items():
            own = by_source.get(session, Continuations(session, 0))
            role = SOURCE if own.keys and own.prefix_length else PLAIN
            prefix = (own.prefix_length, session) if role == SOURCE else (0, -1)
            confidence = rollout.call.confidence if rollout.call else float("nan")
            rows += [(key, role, *prefix, confidence, own.lost, self.seconds) for key in rollout.keys]
        for own in self.continuations:
            prefix = (own.prefix_length, own.source)
            rows += [(key, CONTINUATION, *prefix, float("nan"), 0, self.seconds) for key in own.keys]
        keys, *columns = zip(*rows, strict=True)
        tensors = {
            column.name: torch.tensor(values, dtype=column.dtype)
            for column, values in zip(AXPO_COLUMNS, columns, strict=True)
        }
        return list(keys), tensors
