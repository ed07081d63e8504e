# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The slots of one step: AXPO's budget, allocated while prompts are still running.

A *slot* is one prefix with its K continuations. This module knows the number of prompts of a step and a score for each
prefix; it knows nothing of tokens, rewards or ray.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Sequence

Request = tuple[int, float, str]
"""(rank within its prompt from 0, score, uid of the prompt); requests are served in this order."""


class SlotAllocator:
    """Decides which prefixes of a step get a slot.

    ``breadth_first`` serves every prompt's first prefix before any second one, and the lowest score first within a
    rank. It decides exactly as if it had waited for all prompts, but as early as possible: let p be the number of
    undecided requests that come before a request of rank k (from 0), and U the number of running prompts, each of which
    may still submit one request of each rank. The request gets a slot as soon as more than p + (k + 1) U slots are
    free. It gets none as soon as at most p slots are free. If there are enough slots for all, a first prefix waits only
    until there are more free slots than running prompts and undecided first prefixes.

    ``streaming`` is first come, first served until the slots are used: no request waits, and there may be no slots left
    for late prompts.

    Args:
        slots: the number of slots as a function of the number of prompts.
        streaming: serve requests in the order in which they arrive.
    """

    def __init__(self, slots: Callable[[int], int], streaming: bool):
        self._slots, self._streaming = slots, streaming
        self._prompts = self._submitted = self._granted = 0
        self._undecided: list[Request] = []
        self._decisions: dict[tuple[str, int], bool] = {}

    @property
    def running_prompts(self) -> int:
        """Number of prompts that may still submit requests."""
        return self._prompts - self._submitted

    @property
    def free_slots(self) -> int:
        """Number of slots that were not given to a request."""
        return self._slots(self._prompts) - self._granted

    def add_prompts(self, prompts: int) -> None:
        """Announce more prompts of this step."""
        self._prompts += prompts
        self._decide()

    def submit(self, uid: str, scores: Sequence[float]) -> None:
        """Request slots for a prompt whose original rollouts have ended.

        Args:
            uid: the uid of the prompt.
            scores: the scores of the prefixes that could be resampled, smallest first; empty if there are none.
        """
        self._submitted += 1
        for rank, score in enumerate(scores):
            insort(self._undecided, (rank, score, uid))
        self._decide()

    def has_slot(self, uid: str, rank: int) -> bool | None:
        """Whether a prefix of a prompt has a slot; None while that is undecided."""
        return self._decisions.get((uid, rank))

    def _decide(self) -> None:
        for request in list(self._undecided):
            place = bisect_left(self._undecided, request)
            possible = 0 if self._streaming else (request[0] + 1) * self.running_prompts
            if place + possible < self.free_slots:
                self._granted += 1
                self._close(place, True)
            elif self._streaming or place >= self.free_slots:
                self._close(place, False)

    def _close(self, place: int, granted: bool) -> None:
        rank, _, uid = self._undecided.pop(place)
        self._decisions[uid, rank] = granted
