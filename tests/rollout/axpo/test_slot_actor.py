# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The actor that allocates slots: its rules without ray, and thousands of open requests in a local ray."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable
from random import Random
from typing import Any

import pytest
import ray
from hypothesis import given
from hypothesis import strategies as st

from verl_mapo.advantages.axpo import AxpoSettings
from verl_mapo.rollout.axpo.slot_actor import SlotActor, start_slot_actor

OPEN = 5000
"""More undecided requests than the 1000 calls that ray runs by default at the same time in one actor."""

CALLS_S = 120
"""Seconds that calls of the actor may take; one that it does not begin would be waited for without an end."""


def play(story: Any, **settings: Any) -> Any:
    """What the coroutine function ``story`` returns for a new actor; a request that is never decided fails."""

    async def run() -> Any:
        actor = SlotActor(AxpoSettings(**settings), n=8)
        return await asyncio.wait_for(story(actor), timeout=60)

    return asyncio.run(run())


async def answers(*waiting: Awaitable[bool]) -> list[bool]:
    return list(await asyncio.gather(*waiting))


def test_wait_for_slot_returns_as_soon_as_it_is_decided():
    async def story(actor: SlotActor) -> list[bool]:
        await actor.add_prompts(1, 4)
        await actor.submit(1, "a", [0.5])
        waiting = asyncio.create_task(actor.wait_for_slot(1, "a", 0))
        await asyncio.sleep(0)
        assert not waiting.done()
        for uid in "bcd":
            await actor.submit(1, uid, [0.1])
        return await answers(waiting, *(actor.wait_for_slot(1, uid, 0) for uid in "bcd"))

    assert play(story) == [False, True, True, False], "2 slots for 4 prompts of 8; equal scores go by uid"


def test_steps_have_slots_of_their_own_and_a_finished_step_is_dropped():
    async def story(actor: SlotActor) -> set[int]:
        await actor.add_prompts(1, 2)
        await actor.add_prompts(2, 2)
        await actor.submit(1, "a", [0.5])
        await actor.submit(1, "b", [])
        assert await actor.wait_for_slot(1, "a", 0)
        await actor.add_prompts(3, 2)
        return set(actor._steps)

    assert play(story) == {2, 3}


def test_answer_is_kept_after_the_next_step_was_opened():
    """In the asynchronous modes the next step is announced while the last prompts of a step fetch their answers."""

    async def story(actor: SlotActor) -> list[bool]:
        await actor.add_prompts(1, 2)
        await actor.submit(1, "a", [0.5])
        await actor.submit(1, "b", [0.6])
        await actor.add_prompts(2, 2)
        return await answers(actor.wait_for_slot(1, "a", 0), actor.wait_for_slot(1, "b", 0))

    assert play(story) == [True, False]


def test_prompt_of_a_step_that_is_over_is_decided_at_once(caplog):
    async def story(actor: SlotActor) -> list[bool]:
        await actor.add_prompts(1, 1)
        await actor.submit(1, "a", [])
        await actor.add_prompts(2, 2)
        await actor.submit(1, "late", [0.5])
        return await answers(actor.wait_for_slot(1, "late", 0))

    assert play(story) == [False], "one prompt of 8 rollouts has half a slot"
    assert play(story, ratio=0.5) == [True]
    assert "Prompt late of step 1 requests slots, but was not announced." in caplog.text


def test_prompt_that_submits_before_its_step_is_announced_is_decided_and_counts_once():
    async def story(actor: SlotActor) -> list[bool]:
        await actor.submit(1, "early", [0.5])
        first = await actor.wait_for_slot(1, "early", 0)
        await actor.add_prompts(1, 4)
        for uid in "bcd":
            await actor.submit(1, uid, [0.5])
        return [first, *await answers(*(actor.wait_for_slot(1, uid, 0) for uid in "bcd"))]

    assert play(story) == [False, True, True, False], "2 slots for 4 prompts"


def test_step_that_is_announced_again_has_the_slots_of_both():
    async def story(actor: SlotActor) -> list[bool]:
        await actor.add_prompts(1, 2)
        await actor.submit(1, "a", [0.5])
        await actor.submit(1, "b", [0.6])
        await actor.add_prompts(1, 2)
        await actor.submit(1, "c", [0.5])
        await actor.submit(1, "d", [0.6])
        return await answers(*(actor.wait_for_slot(1, uid, 0) for uid in "abcd"))

    assert play(story) == [True, False, True, False]


def test_prompt_that_submits_twice_is_decided_once(caplog):
    async def story(actor: SlotActor) -> list[bool]:
        await actor.add_prompts(1, 4)
        await actor.submit(1, "a", [0.5])
        waiting = asyncio.create_task(actor.wait_for_slot(1, "a", 0))
        await actor.submit(1, "a", [0.5])
        assert actor._steps[1].running_prompts == 3
        for uid in "bcd":
            await actor.submit(1, uid, [])
        return await answers(waiting)

    assert play(story) == [True] and "Prompt a of step 1 requests slots again, which is ignored." in caplog.text


def test_prefix_that_was_not_submitted_gets_no_slot(caplog):
    async def story(actor: SlotActor) -> bool:
        return await actor.wait_for_slot(7, "a", 0)

    assert play(story) is False and "Prefix 0 of prompt a of step 7 was not submitted" in caplog.text


@pytest.mark.parametrize("when", ["before", "after"])
def test_call_that_is_cancelled_leaves_nothing_behind(when):
    async def story(actor: SlotActor) -> list[bool]:
        await actor.add_prompts(1, 4)
        await actor.submit(1, "a", [0.1])
        gone = asyncio.create_task(actor.wait_for_slot(1, "a", 0))
        await asyncio.sleep(0)
        gone.cancel()
        if when == "before":
            await asyncio.gather(gone, return_exceptions=True)
        for uid in "bcd":
            await actor.submit(1, uid, [0.5])
        await asyncio.gather(gone, return_exceptions=True)
        found = await answers(*(actor.wait_for_slot(1, uid, 0) for uid in "bcd"))
        assert not actor._answers
        return found

    assert play(story) == [True, False, False]


@pytest.mark.parametrize("allocation", ["breadth_first", "streaming"])
@given(st.integers(1, 4), st.integers(1, 6), st.integers(0, 1000))
def test_every_request_is_answered_whatever_the_order_of_the_calls(allocation, steps, prompts, seed):
    """Announcements, requests and waits of several steps, mixed as the workers of an asynchronous run may send them."""
    shuffle = Random(seed)

    async def prompt(actor: SlotActor, step: int, uid: str) -> list[bool]:
        for _ in range(shuffle.randrange(8)):
            await asyncio.sleep(0)
        scores = sorted(shuffle.random() for _ in range(shuffle.randrange(4)))
        await actor.submit(step, uid, scores)
        for _ in range(shuffle.randrange(8)):
            await asyncio.sleep(0)
        return await answers(*(actor.wait_for_slot(step, uid, rank) for rank in range(len(scores))))

    async def story(actor: SlotActor) -> None:
        tasks = []
        for step in range(steps):
            announced = [actor.add_prompts(step, 1) for _ in range(prompts)]
            started = [prompt(actor, step, f"{step}_{number}") for number in range(prompts)]
            calls = announced + started
            if shuffle.random() < 0.5:
                shuffle.shuffle(calls)
            tasks += [asyncio.create_task(call) for call in calls]
            await asyncio.sleep(0)
        found = await asyncio.gather(*tasks)
        granted = sum(sum(each) for each in found if each)
        assert granted <= actor._slots(steps * prompts) and not actor._answers

    play(story, allocation=allocation)


def test_thousands_of_requests_are_open_at_the_same_time_and_all_are_answered(monkeypatch):
    monkeypatch.setenv("RAY_raylet_start_wait_time_s", "240")
    runtime_env = {"env_vars": {"PYTHONPATH": ":".join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}}
    ray.init(num_cpus=1, num_gpus=0, include_dashboard=False, log_to_driver=False, runtime_env=runtime_env)
    try:
        users, others, first = 100, 700, 8  # of 64 ranks, these first ones are decided before the last prompt has ended
        actor = start_slot_actor(AxpoSettings(ratio=0.5), n=64)
        ray.get(actor.add_prompts.remote(1, users + others), timeout=CALLS_S)
        ray.get([actor.submit.remote(1, f"user {user}", [0.5] * 64) for user in range(users)], timeout=CALLS_S)
        requests = [(f"user {user}", first + rank) for user in range(users) for rank in range(OPEN // users)]
        waiting = [actor.wait_for_slot.remote(1, *request) for request in requests]
        assert len(waiting) == OPEN and not ray.wait(waiting, timeout=0)[0]
        ray.get([actor.submit.remote(1, f"other {other}", []) for other in range(others)], timeout=CALLS_S)
        assert ray.get(waiting, timeout=CALLS_S) == [True] * OPEN, "6400 slots for 6400 requests"
    finally:
        ray.shutdown()
