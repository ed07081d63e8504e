# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""A ray actor that allocates the slots of each step, shared by all rollout workers of a run."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence

import ray

from verl_mapo.advantages.axpo import AxpoSettings
from verl_mapo.rollout.axpo.slot_allocator import SlotAllocator, Verdict

logger = logging.getLogger(__name__)

MAX_CONCURRENCY = 1_000_000
"""Largest number of calls of the actor that may be open at the same time.

Each undecided request is an open call of :meth:`SlotActor.wait_for_slot`, and what decides it is another call, which
ray would not start beyond this number: with ray's default of 1000, a step with 1000 undecided requests never ends. A
step has at most one request for each of its rollouts, so this is out of reach of any run. Ray allocates nothing in
advance for it; ``scripts/bench_ledger.py`` prints the memory of an open call.
"""


class SlotActor:
    """Holds one :class:`SlotAllocator` for each step, and one future for each request that was not answered yet.

    The calls of a prompt may come in any relation to those of other steps: a step is opened by whatever mentions it
    first, and a request keeps its answer until it is fetched, also when its step is over.

    Args:
        settings: ``continuations``, ``ratio`` and ``allocation`` are read.
        n: number of original rollouts of a prompt.
    """

    def __init__(self, settings: AxpoSettings, n: int):
        self.settings, self.n = settings, n
        self._steps: dict[int, SlotAllocator] = {}
        self._answers: dict[tuple[int, str, int], asyncio.Future[bool]] = {}

    async def add_prompts(self, step: int, prompts: int) -> None:
        """Announce prompts that are about to be rolled out. More of them may be announced later, also for an old step.

        Args:
            step: the training step to which they belong.
            prompts: their number.
        """
        self._settle(step, self._allocator(step).add_prompts(prompts))

    async def submit(self, step: int, uid: str, scores: Sequence[float]) -> None:
        """Request slots for a prompt whose original rollouts have ended. Only the first request of a prompt counts.

        A prompt of a step that was not announced, or whose prompts have all submitted, is decided on at once, with the
        slots that its own rollouts add.

        Args:
            step: the training step to which the prompt belongs.
            uid: the uid of the prompt.
            scores: see :meth:`SlotAllocator.submit`.
        """
        allocator = self._allocator(step)
        if allocator.has_submitted(uid):
            logger.warning("Prompt %s of step %d requests slots again, which is ignored.", uid, step)
            return
        if not allocator.running_prompts:
            logger.warning("Prompt %s of step %d requests slots, but was not announced.", uid, step)
        loop = asyncio.get_running_loop()
        self._answers |= {(step, uid, rank): loop.create_future() for rank in range(len(scores))}
        self._settle(step, allocator.submit(uid, scores))

    async def wait_for_slot(self, step: int, uid: str, rank: int) -> bool:
        """Wait until it is decided whether a prefix gets a slot; returns whether it does. To be called once a prefix.

        Args:
            step: the training step to which the prompt belongs.
            uid: the uid of the prompt, which was submitted before.
            rank: the rank of the prefix among those of its prompt, from 0.
        """
        answer = self._answers.get((step, uid, rank))
        if answer is None:
            logger.warning("Prefix %d of prompt %s of step %d was not submitted and gets no slot.", rank, uid, step)
            return False
        try:
            return await answer
        finally:
            self._answers.pop((step, uid, rank), None)

    def _allocator(self, step: int) -> SlotAllocator:
        """The allocator of a step. The first mention of a step makes it, and drops those whose prompts have ended."""
        if step not in self._steps:
            self._steps = {other: slots for other, slots in self._steps.items() if slots.running_prompts}
            self._steps[step] = SlotAllocator(self._slots, self.settings.allocation == "streaming")
        return self._steps[step]

    def _settle(self, step: int, verdicts: Iterable[Verdict]) -> None:
        for uid, rank, granted in verdicts:
            answer = self._answers.get((step, uid, rank))
            if answer is not None and not answer.cancelled():  # the call that waited for it may have been cancelled
                answer.set_result(granted)

    def _slots(self, prompts: int) -> int:
        return self.settings.slots(prompts * self.n)


def start_slot_actor(settings: AxpoSettings, n: int) -> ray.actor.ActorHandle:
    """Start the actor; it lives as long as its handle. The arguments are those of :class:`SlotActor`."""
    return ray.remote(SlotActor).options(num_cpus=0, max_concurrency=MAX_CONCURRENCY).remote(settings, n)
