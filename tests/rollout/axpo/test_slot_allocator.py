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
"""Who gets the slots of a step."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from verl_mapo.advantages.axpo import AxpoSettings
from verl_mapo.rollout.axpo.slot_actor import SlotActor
from verl_mapo.rollout.axpo.slot_allocator import SlotAllocator

prompts = st.lists(st.lists(st.floats(0, 1), max_size=4).map(sorted), min_size=1, max_size=8)


def book(slots: int, streaming: bool = False) -> SlotAllocator:
    return SlotAllocator(lambda _: slots, streaming)


@given(prompts, st.integers(0, 12), st.randoms(use_true_random=False))
def test_breadth_first_decides_as_if_it_had_waited_for_everybody(scores, slots, shuffle):
    allocation = book(slots)
    allocation.expect(len(scores))
    order = list(range(len(scores)))
    shuffle.shuffle(order)
    for prompt in order:
        allocation.settle(str(prompt), scores[prompt])
    requests = sorted((rank, score, str(prompt)) for prompt, own in enumerate(scores) for rank, score in enumerate(own))
    granted = {(prompt, rank) for rank, _, prompt in requests[:slots]}
    for rank, _, prompt in requests:
        assert allocation.verdict(prompt, rank) is ((prompt, rank) in granted)
    assert allocation.free == max(0, slots - len(requests)) and allocation.unsettled == 0


@given(prompts, st.integers(0, 12), st.booleans(), st.randoms(use_true_random=False))
def test_nobody_is_given_what_is_not_there_even_when_prompts_come_later(scores, per_prompt, streaming, shuffle):
    allocation = SlotAllocator(lambda known: known * per_prompt // 4, streaming)
    for prompt, own in enumerate(scores):
        allocation.expect(1)
        if shuffle.random() < 0.5:
            allocation.expect(1)
            allocation.settle(f"late {prompt}", own)
        allocation.settle(str(prompt), own)
        assert allocation.free >= 0


def test_a_first_prefix_waits_no_longer_than_it_must():
    allocation = book(2)
    allocation.expect(4)
    allocation.settle("a", [0.5, 0.6])
    assert allocation.verdict("a", 0) is None, "three others may still be less sure"
    allocation.settle("b", [])
    allocation.settle("c", [])
    assert allocation.verdict("a", 0) is True, "the last prompt cannot take both slots in the first rank"
    assert allocation.verdict("a", 1) is None
    allocation.settle("d", [0.9])
    assert allocation.verdict("d", 0) is True and allocation.verdict("a", 1) is False


def test_with_slots_for_all_first_prefixes_are_served_at_once():
    allocation = book(8)
    allocation.expect(8)
    for prompt in "abcdefgh":
        allocation.settle(prompt, [0.5, 0.4])
        assert allocation.verdict(prompt, 0) is True
    assert all(allocation.verdict(prompt, 1) is False for prompt in "abcdefgh")


def test_a_hopeless_request_is_refused_before_everybody_has_settled():
    allocation = book(1)
    allocation.expect(3)
    allocation.settle("a", [0.2])
    allocation.settle("b", [0.9])
    assert allocation.verdict("a", 0) is None and allocation.verdict("b", 0) is False


def test_streaming_serves_who_comes_and_makes_nobody_wait():
    allocation = book(2, streaming=True)
    allocation.expect(3)
    allocation.settle("a", [0.9, 0.95])
    assert allocation.verdict("a", 0) is True and allocation.verdict("a", 1) is True
    allocation.settle("b", [0.1])
    assert allocation.verdict("b", 0) is False


def test_a_ledger_keeps_a_book_a_step_and_waits_for_its_verdicts():
    async def play() -> tuple[list[bool], dict]:
        ledger = SlotActor(AxpoSettings(), n=8)
        await ledger.expect(1, 4)
        await ledger.settle(1, "a", [0.5])
        waiting = asyncio.create_task(ledger.verdict(1, "a", 0))
        await asyncio.sleep(0)
        assert not waiting.done()
        await ledger.expect(2, 4)
        for uid in "bcd":
            await ledger.settle(1, uid, [0.1])
        verdicts = [await waiting, *[await ledger.verdict(1, uid, 0) for uid in "bcd"]]
        await ledger.expect(3, 4)
        return verdicts, ledger._steps

    verdicts, steps = asyncio.run(play())
    assert verdicts == [False, True, True, False], "2 slots for 4 prompts of 8; equal scores go by uid"
    assert set(steps) == {2, 3}, "a step that is settled is forgotten"
