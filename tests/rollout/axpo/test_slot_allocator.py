# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The allocation of the slots of one step."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verl_mapo.rollout.axpo.slot_allocator import SlotAllocator, Verdict

prompts = st.lists(st.lists(st.floats(0, 1), max_size=4).map(sorted), min_size=1, max_size=8)


class Decisions(SlotAllocator):
    """An allocator that remembers what it has decided."""

    def __init__(self, slots: Callable[[int], int], streaming: bool):
        super().__init__(slots, streaming)
        self.verdicts: list[Verdict] = []

    def add_prompts(self, prompts: int) -> list[Verdict]:
        self.verdicts += (new := super().add_prompts(prompts))
        return new

    def submit(self, uid: str, scores: Sequence[float]) -> list[Verdict]:
        self.verdicts += (new := super().submit(uid, scores))
        return new

    def has_slot(self, uid: str, rank: int) -> bool | None:
        """Whether a prefix of a prompt has a slot; None while that is undecided."""
        found = [granted for *request, granted in self.verdicts if request == [uid, rank]]
        assert len(found) <= 1, "a request is decided once"
        return found[0] if found else None


def allocator(slots: int, streaming: bool = False) -> Decisions:
    return Decisions(lambda _: slots, streaming)


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
    allocation = Decisions(lambda known: known * per_prompt // 4, streaming)
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


def decide_one_by_one(requests: list, running: int, free: int, streaming: bool) -> dict[tuple[str, int], bool]:
    """The rule of the docstring, applied to each request in turn; the requests that it settles are removed."""
    verdicts = {}
    for request in list(requests):
        place = bisect_left(requests, request)
        possible = 0 if streaming else (request[0] + 1) * running
        granted = place + possible < free - sum(verdicts.values())
        if granted or streaming or place >= free - sum(verdicts.values()):
            requests.pop(place)
            verdicts[request[2], request[0]] = granted
    return verdicts


@given(prompts, st.integers(0, 12), st.booleans(), st.randoms(use_true_random=False))
def test_every_step_decides_by_the_rule_of_the_docstring(scores, per_prompt, streaming, shuffle):
    slots = lambda known: known * per_prompt // 4
    allocation, requests = Decisions(slots, streaming), []
    announced = submitted = granted = 0
    waiting = list(enumerate(scores))
    while waiting:
        early = shuffle.random() < 0.2  # a prompt that was not announced, or not yet
        if announced > submitted or early:
            prompt, own = waiting.pop(shuffle.randrange(len(waiting)))
            submitted += 1
            for rank, score in enumerate(own):
                insort(requests, (rank, score, str(prompt)))
            verdicts = allocation.submit(str(prompt), own)
        else:
            announced += (more := shuffle.randint(1, 3))
            verdicts = allocation.add_prompts(more)
        known = max(announced, submitted)
        expected = decide_one_by_one(requests, known - submitted, slots(known) - granted, streaming)
        granted += sum(expected.values())
        assert {(uid, rank): yes for uid, rank, yes in verdicts} == expected and len(verdicts) == len(expected)
        assert allocation.free_slots == slots(known) - granted and allocation.running_prompts == known - submitted
    allocation.add_prompts(1)
    allocation.submit("last", [])
    if not allocation.running_prompts:
        assert all(
            allocation.has_slot(str(p), rank) is not None for p, own in enumerate(scores) for rank in range(len(own))
        )


@pytest.mark.parametrize("streaming", [False, True])
def test_no_more_requests_are_undecided_than_slots_are_free(streaming):
    """A decision therefore costs no more at 1,000 prompts than the slots of the step."""
    allocation = allocator(10, streaming)
    allocation.add_prompts(1000)
    for prompt in range(999):
        allocation.submit(f"{prompt:03}", [0.1, 0.2, 0.3])
        assert 3 * (prompt + 1) - len(allocation.verdicts) <= allocation.free_slots
