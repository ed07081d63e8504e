# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""A ray actor that allocates the slots of each step, shared by all rollout workers of a run."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import ray

from verl_mapo.advantages.axpo import AxpoSettings
from verl_mapo.rollout.axpo.slot_allocator import SlotAllocator


class SlotActor:
    """Holds one :class:`SlotAllocator` for each step.

    Args:
        settings: ``continuations``, ``ratio`` and ``allocation`` are read.
        n: number of original rollouts of a prompt.
    """

    def __init__(self, settings: AxpoSettings, n: int):
        self.settings, self.n = settings, n
        self._steps: dict[int, SlotAllocator] = {}
        self._changed = asyncio.Condition()

    async def add_prompts(self, step: int, prompts: int) -> None:
        """Announce prompts that are about to be rolled out.

        Args:
            step: the training step to which they belong.
            prompts: their number.
        """
        async with self._changed:
            if step not in self._steps:
                self._steps = {other: slots for other, slots in self._steps.items() if slots.running_prompts}
                self._steps[step] = SlotAllocator(self._slots, self.settings.allocation == "streaming")
            self._steps[step].add_prompts(prompts)
            self._changed.notify_all()

    async def submit(self, step: int, uid: str, scores: Sequence[float]) -> None:
        """Request slots for a prompt whose original rollouts have ended.

        Args:
            step: the training step to which the prompt belongs.
            uid: the uid of the prompt.
            scores: see :meth:`SlotAllocator.submit`.
        """
        async with self._changed:
            self._steps[step].submit(uid, scores)
            self._changed.notify_all()

    async def wait_for_slot(self, step: int, uid: str, rank: int) -> bool:
        """Wait until it is decided whether a prefix gets a slot; returns whether it does.

        Args:
            step: the training step to which the prompt belongs.
            uid: the uid of the prompt, which was submitted before.
            rank: the rank of the prefix among those of its prompt, from 0.
        """
        slots = self._steps[step]
        async with self._changed:
            await self._changed.wait_for(lambda: slots.has_slot(uid, rank) is not None)
        return slots.has_slot(uid, rank)

    def _slots(self, prompts: int) -> int:
        return self.settings.slots(prompts * self.n)


def start_slot_actor(settings: AxpoSettings, n: int) -> ray.actor.ActorHandle:
    """Start the actor; it lives as long as its handle. The arguments are those of :class:`SlotActor`."""
    return ray.remote(SlotActor).options(num_cpus=0).remote(settings, n)
