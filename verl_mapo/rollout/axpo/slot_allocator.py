# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The slots of one step: AXPO's budget, allocated while prompts are still running.

A *slot* is one prefix with its K continuations. This module knows the number of prompts of a step and a score for each
prefix; it knows nothing of tokens, rewards or ray.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Sequence

Request = tuple[int, float, str]
"""(rank within its prompt from 0, score, uid of the prompt); requests are served in this order."""

Verdict = tuple[str, int, bool]
"""(uid of the prompt, rank of the prefix, whether it gets a slot)."""


class SlotAllocator:
    """Decides which prefixes of a step get a slot.

    ``breadth_first`` serves every prompt's first prefix before any second one, and the lowest score first within a
    rank. It decides exactly as if it had waited for all prompts, but as early as possible: let p be the number of
    undecided requests that come before a request of rank k (from 0), and U the number of running prompts, each of which
    may still submit one request of each rank. The request gets a slot as soon as more than p + (k + 1) U slots are
    free. It gets none as soon as at most p slots are free. If there are enough slots for all, a first prefix waits only
    until there are more free slots than running prompts and undecided first prefixes.

    ``streaming`` is first come, first served until the slots are used: no request waits, and there may be no slots left
    for late prompts. It is the same rule with U = 0.

    The requests that get a slot are always the first ones in order, and those that get none the last ones, and neither
    changes what is decided about the others. So a decision costs as much as the requests that it settles, and never
    more requests are undecided than slots are free.

    Args:
        slots: the number of slots as a function of the number of prompts.
        streaming: serve requests in the order in which they arrive.
    """

    def __init__(self, slots: Callable[[int], int], streaming: bool):
        self._slots, self._streaming = slots, streaming
        self._announced = self._granted = 0
        self._submitted: set[str] = set()
        self._undecided: list[Request] = []

    @property
    def prompts(self) -> int:
        """Number of prompts of the step; one that submits without being announced counts from then on."""
        return max(self._announced, len(self._submitted))

    @property
    def running_prompts(self) -> int:
        """Number of prompts that may still submit requests."""
        return self.prompts - len(self._submitted)

    @property
    def free_slots(self) -> int:
        """Number of slots that were not given to a request."""
        return self._slots(self.prompts) - self._granted

    def has_submitted(self, uid: str) -> bool:
        """Whether a prompt has requested its slots."""
        return uid in self._submitted

    def add_prompts(self, prompts: int) -> list[Verdict]:
        """Announce more prompts of this step; returns what that decides."""
        self._announced += prompts
        return self._decide()

    def submit(self, uid: str, scores: Sequence[float]) -> list[Verdict]:
        """Request slots for a prompt whose original rollouts have ended.

        Args:
            uid: the uid of the prompt, which has not submitted before.
            scores: the scores of the prefixes that could be resampled, smallest first; empty if there are none.

        Returns:
            What that decides, about this prompt and about others. After the last prompt, nothing is undecided.
        """
        self._submitted.add(uid)
        for rank, score in enumerate(scores):
            insort(self._undecided, (rank, score, uid))
        return self._decide()

    def _decide(self) -> list[Verdict]:
        requests, free = self._undecided, self.free_slots
        running = 0 if self._streaming else self.running_prompts
        granted = 0
        while granted < len(requests) and granted + (requests[granted][0] + 1) * running < free:
            granted += 1
        verdicts = [(uid, rank, True) for rank, _, uid in requests[:granted]]
        verdicts += [(uid, rank, False) for rank, _, uid in requests[free:]]
        self._undecided = requests[granted:free]
        self._granted += granted
        return verdicts
