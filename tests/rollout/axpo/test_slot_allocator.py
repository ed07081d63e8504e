# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The allocation of the slots of one step."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from verl_mapo.rollout.axpo.slot_allocator import SlotAllocator

prompts = st.lists(st.lists(st.floats(0, 1), max_size=4).map(sorted), min_size=1, max_size=8)


def allocator(slots: int, streaming: bool = False) -> SlotAllocator:
    return SlotAllocator(lambda _: slots, streaming)


@given(prompts, st.integers(0, 12), st.randoms(use_true_random=False))
def test_breadth_first_decides_as_if_it_had_waited_for_all_prompts(scores, slots, shuffle):
    allocation = allocator(slots)
    allocation.add_prompts(len(scores))
    order = list(range(len(scores)))
    shuffle.shuffle(order)
    for prompt in order:
        allocation.submit(str(prompt), scores[prompt])
    requests = sorted((rank, score, str(prompt)) for prompt, own in enumerate(scores) for rank, score in enumerate(own))
    granted = {(prompt, rank) for rank, _, prompt in requests[:slots]}
    for rank, _, prompt in requests:
        assert allocation.has_slot(prompt, rank) is ((prompt, rank) in granted)
    assert allocation.free_slots == max(0, slots - len(requests)) and allocation.running_prompts == 0


@given(prompts, st.integers(0, 12), st.booleans(), st.randoms(use_true_random=False))
def test_no_more_slots_are_given_than_there_are(scores, per_prompt, streaming, shuffle):
    allocation = SlotAllocator(lambda known: known * per_prompt // 4, streaming)
    for prompt, own in enumerate(scores):
        allocation.add_prompts(1)
        if shuffle.random() < 0.5:
            allocation.add_prompts(1)
            allocation.submit(f"late {prompt}", own)
        allocation.submit(str(prompt), own)
        assert allocation.free_slots >= 0


def test_first_prefix_is_decided_as_early_as_possible():
    allocation = allocator(2)
    allocation.add_prompts(4)
    allocation.submit("a", [0.5, 0.6])
    assert allocation.has_slot("a", 0) is None, "three others may still have a lower score"
    allocation.submit("b", [])
    allocation.submit("c", [])
    assert allocation.has_slot("a", 0) is True, "the last prompt cannot take both slots in the first rank"
    assert allocation.has_slot("a", 1) is None
    allocation.submit("d", [0.9])
    assert allocation.has_slot("d", 0) is True and allocation.has_slot("a", 1) is False


def test_second_prefix_comes_after_the_first_prefix_of_every_prompt_whatever_its_score():
    allocation = allocator(2)
    allocation.add_prompts(2)
    allocation.submit("a", [0.1, 0.2])
    assert allocation.has_slot("a", 1) is None
    allocation.submit("b", [0.9])
    decided = {("a", 0): True, ("a", 1): False, ("b", 0): True}
    assert {request: allocation.has_slot(*request) for request in decided} == decided


def test_first_prefixes_do_not_wait_where_slots_suffice_for_all():
    allocation = allocator(8)
    allocation.add_prompts(8)
    for prompt in "abcdefgh":
        allocation.submit(prompt, [0.5, 0.4])
        assert allocation.has_slot(prompt, 0) is True
    assert all(allocation.has_slot(prompt, 1) is False for prompt in "abcdefgh")


def test_request_that_cannot_get_a_slot_is_refused_early():
    allocation = allocator(1)
    allocation.add_prompts(3)
    allocation.submit("a", [0.2])
    allocation.submit("b", [0.9])
    assert allocation.has_slot("a", 0) is None and allocation.has_slot("b", 0) is False


def test_streaming_is_first_come_first_served():
    allocation = allocator(2, streaming=True)
    allocation.add_prompts(3)
    allocation.submit("a", [0.9, 0.95])
    assert allocation.has_slot("a", 0) is True and allocation.has_slot("a", 1) is True
    allocation.submit("b", [0.1])
    assert allocation.has_slot("b", 0) is False
