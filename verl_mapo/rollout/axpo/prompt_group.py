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
"""The sessions of one prompt, as AXPO looks at them: was there a failed tool user, whom to resample, who became what.

What it does not know: engines, queues, budgets.
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
        keys: of its rows.
        state: where it ended; None for a loop that cannot be continued.
        outcome: its reward.
        call: its first tool call, where it has one that can be cut off.
    """

    keys: list[str]
    state: LoopState | None
    outcome: float
    call: FirstCall | None = None

    @property
    def used_tools(self) -> bool:
        """Whether it tried to call a tool at least once."""
        return self.state is not None and any(turn.called for turn in self.state.trajectory.turns)


@dataclass
class Continuations:
    """What came of one prefix.

    Attributes:
        source: the session it was cut from.
        length: tokens of the prefix on the response axis; 0 for fresh rollouts.
        keys: rows of the continuations that were scored.
        lost: continuations that died.
    """

    source: int
    length: int
    keys: list[str] = field(default_factory=list)
    lost: int = 0


class PromptGroup:
    """The sessions of one prompt, in the making.

    Args:
        n: how many there will be, continuations aside.

    Attributes:
        under_way: sessions that have not ended.
        died: whether one of them died; such a group is left alone.
        sessions: by session id, those that were scored.
        resamplings: one a prefix that got a slot.
        seconds: spent after the last session ended: waiting for slots and running continuations.
    """

    def __init__(self, n: int):
        self.n = self.under_way = n
        self.died = False
        self.sessions: dict[int, FinishedRollout] = {}
        self.resamplings: list[Continuations] = []
        self.seconds = 0.0

    @property
    def triggered(self) -> bool:
        """AXPO's trigger: there are tool users, and none of them is right. What the others did has no say."""
        users = [session for session in self.sessions.values() if session.used_tools]
        return bool(users) and not self.died and all(user.outcome < CORRECT for user in users)

    def candidates(self, config: AxpoSettings, chance: Random) -> list[tuple[float, int]]:
        """(score, session) of every prefix to resample, the most uncertain first; empty unless triggered."""
        if not self.triggered:
            return []
        calls = {number: session.call for number, session in self.sessions.items() if session.call}
        score = {
            "confidence": lambda call: call.confidence,
            "entropy": lambda call: -call.entropy,
            "random": lambda _: chance.random(),
        }[config.prefix_rank]
        return sorted((score(calls[number]), number) for number in sorted(calls))

    def columns(self) -> tuple[list[str], dict[str, torch.Tensor]]:
        """Keys of all rows and, for each, the columns of :data:`AXPO_COLUMNS`.

        Returns:
            ``role`` int8, ``prefix_length`` int64, ``prefix_id`` int64, as :mod:`verl_mapo.advantages.axpo` takes
            them; ``confidence`` float32, of the first tool call, NaN without one; ``lost`` int64, continuations of
            this rollout that died; ``explore_seconds`` float32, the same for all rows of a prompt.
        """
        by_source = {resampling.source: resampling for resampling in self.resamplings}
        rows = []
        for number, session in self.sessions.items():
            resampling = by_source.get(number, Continuations(number, 0))
            role = SOURCE if resampling.keys and resampling.length else PLAIN
            place = (resampling.length, number) if role == SOURCE else (0, -1)
            confidence = session.call.confidence if session.call else float("nan")
            rows += [(key, role, *place, confidence, resampling.lost) for key in session.keys]
        for resampling in self.resamplings:
            place = (resampling.length, resampling.source)
            rows += [(key, CONTINUATION, *place, float("nan"), 0) for key in resampling.keys]
        keys, *columns = zip(*rows, strict=True)
        columns.append([self.seconds] * len(keys))
        tensors = {
            column.name: torch.tensor(values, dtype=column.dtype)
            for column, values in zip(AXPO_COLUMNS, columns, strict=True)
        }
        return list(keys), tensors
