# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The actor that allocates slots, without ray."""

from __future__ import annotations

import asyncio

from verl_mapo.advantages.axpo import AxpoSettings
from verl_mapo.rollout.axpo.slot_actor import SlotActor


def test_wait_for_slot_returns_as_soon_as_it_is_decided():
    async def play() -> list[bool]:
        actor = SlotActor(AxpoSettings(), n=8)
        await actor.add_prompts(1, 4)
        await actor.submit(1, "a", [0.5])
        waiting = asyncio.create_task(actor.wait_for_slot(1, "a", 0))
        await asyncio.sleep(0)
        assert not waiting.done()
        for uid in "bcd":
            await actor.submit(1, uid, [0.1])
        return [await waiting, *[await actor.wait_for_slot(1, uid, 0) for uid in "bcd"]]

    assert asyncio.run(play()) == [False, True, True, False], "2 slots for 4 prompts of 8; equal scores go by uid"


def test_steps_have_slots_of_their_own_and_a_finished_step_is_dropped():
    async def play() -> set[int]:
        actor = SlotActor(AxpoSettings(), n=8)
        await actor.add_prompts(1, 2)
        await actor.add_prompts(2, 2)
        await actor.submit(1, "a", [0.5])
        await actor.submit(1, "b", [])
        assert await actor.wait_for_slot(1, "a", 0)
        await actor.add_prompts(3, 2)
        return set(actor._steps)

    assert asyncio.run(play()) == {2, 3}
