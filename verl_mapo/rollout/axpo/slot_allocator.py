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
"""Who gets the slots of a step: AXPO's budget, spent while prompts are still finishing.

What it knows: how many prompts a step has, and a score for each prefix of a settled prompt. What it does not know:
tokens, rewards, ray. A *slot* is one prefix with its K continuations.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Sequence

Request = tuple[int, float, str]
"""(rank within its prompt from 0, score, uid of the prompt); requests are served in this order."""


class SlotAllocator:
    """The slots of one step.

    ``breadth_first`` serves every prompt's first prefix before any second one, lowest score first within a rank, and
    decides exactly as if it had waited for all prompts, but no later than it must. A prompt that has not settled can
    bring one request of each rank, so a request of rank k (from 0) with p undecided ones before it is safe as soon as
    p + (k + 1) U slots are enough, U being the unsettled prompts; and lost as soon as p alone are too many. Without
    shortage nobody waits for a first prefix longer than until the slots cover the prompts still running.

    ``streaming`` serves who comes, as long as slots last: nobody waits, and late prompts may find nothing left.

    Args:
        slots: the number of slots from the number of prompts.
        streaming: serve in order of arrival.
    """

    def __init__(self, slots: Callable[[int], int], streaming: bool):
        self._slots, self._streaming = slots, streaming
        self._prompts = self._settled = self._granted = 0
        self._waiting: list[Request] = []
        self._verdicts: dict[tuple[str, int], bool] = {}

    @property
    def unsettled(self) -> int:
        """Prompts that may still bring requests."""
        return self._prompts - self._settled

    @property
    def free(self) -> int:
        """Slots that nobody has been given."""
        return self._slots(self._prompts) - self._granted

    def expect(self, prompts: int) -> None:
        """More prompts of this step were dispatched."""
        self._prompts += prompts
        self._decide()

    def settle(self, prompt: str, scores: Sequence[float]) -> None:
        """A prompt's rollouts are all there; ``scores`` of the prefixes it asks for, best first."""
        self._settled += 1
        for rank, score in enumerate(scores):
            insort(self._waiting, (rank, score, prompt))
        self._decide()

    def verdict(self, prompt: str, rank: int) -> bool | None:
        """Whether a prompt's prefix has a slot; None while that is open."""
        return self._verdicts.get((prompt, rank))

    def _decide(self) -> None:
        for request in list(self._waiting):
            rank, _, prompt = request
            place = bisect_left(self._waiting, request)
            rivals = 0 if self._streaming else (rank + 1) * self.unsettled
            if place + rivals < self.free:
                self._granted += 1
                self._close(place, True)
            elif self._streaming or place >= self.free:
                self._close(place, False)

    def _close(self, place: int, verdict: bool) -> None:
        rank, _, prompt = self._waiting.pop(place)
        self._verdicts[prompt, rank] = verdict
