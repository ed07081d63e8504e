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
"""The ledger of slots: one ray actor that all explorative workers of a run ask, so that a step has one budget."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import ray

from verl_mapo.advantages.axpo import AxpoSettings
from verl_mapo.rollout.axpo.slot_allocator import SlotAllocator


class SlotActor:
    """An :class:`SlotAllocator` a step, shared by workers that wait for its verdicts.

    Args:
        config: the budget and how it is spent.
        n: rollouts a prompt.
    """

    def __init__(self, config: AxpoSettings, n: int):
        self.config, self.n = config, n
        self._steps: dict[int, SlotAllocator] = {}
        self._changed = asyncio.Condition()

    async def expect(self, step: int, prompts: int) -> None:
        """So many more prompts of a step are about to be rolled out."""
        async with self._changed:
            if step not in self._steps:
                self._steps = {old: book for old, book in self._steps.items() if book.unsettled}
                self._steps[step] = SlotAllocator(self._slots, self.config.allocation == "streaming")
            self._steps[step].expect(prompts)
            self._changed.notify_all()

    async def settle(self, step: int, uid: str, scores: Sequence[float]) -> None:
        """A prompt's rollouts are all there; see :meth:`SlotAllocator.settle`."""
        async with self._changed:
            self._steps[step].settle(uid, scores)
            self._changed.notify_all()

    async def verdict(self, step: int, uid: str, rank: int) -> bool:
        """Whether a prefix of a settled prompt gets a slot, as soon as that is certain."""
        book = self._steps[step]
        async with self._changed:
            await self._changed.wait_for(lambda: book.verdict(uid, rank) is not None)
        return book.verdict(uid, rank)

    def _slots(self, prompts: int) -> int:
        return self.config.slots(prompts * self.n)


def start_slot_actor(config: AxpoSettings, n: int) -> ray.actor.ActorHandle:
    """The actor; it lives as long as its handle."""
    return ray.remote(SlotActor).options(num_cpus=0).remote(config, n)
