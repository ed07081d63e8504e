# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""AXPO's slot actor in steps of 1024 and 8192 prompts, against the algorithm that it had at first.

A step is simulated: prompts end one after the other in random order, half of them with 1 to 8 requests, and every
request has a call that waits for its answer. The first algorithm looked at all undecided requests at each event and
woke all waiting calls; it is kept here as the baseline. CPU seconds of the whole step, in one process without ray.

Then the same step with the actor in a local ray and one caller: elapsed seconds, and the actor's memory per open call.

    python scripts/bench_ledger.py [--limit 120] [--without-ray]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from bisect import bisect_left, insort
from random import Random
from typing import Any

import ray

from verl_mapo.advantages.axpo import AxpoSettings
from verl_mapo.rollout.axpo.slot_actor import MAX_CONCURRENCY, SlotActor

PROMPTS, ROLLOUTS = (1024, 8192), 8
Ends = list[tuple[str, list[float]]]
"""(uid, scores of the requests) of each prompt, in the order in which the prompts end."""


class WakeAll:
    """The first algorithm, with the methods of :class:`SlotActor`."""

    def __init__(self, settings: AxpoSettings, n: int):
        self.settings, self.n = settings, n
        self.changed = asyncio.Condition()
        self.prompts = self.submitted = self.granted = 0
        self.undecided: list[tuple[int, float, str]] = []
        self.decisions: dict[tuple[str, int], bool] = {}

    async def add_prompts(self, step: int, prompts: int) -> None:
        self.prompts += prompts

    async def submit(self, step: int, uid: str, scores: list[float]) -> None:
        async with self.changed:
            self.submitted += 1
            for rank, score in enumerate(scores):
                insort(self.undecided, (rank, score, uid))
            for request in list(self.undecided):
                self.decide(*request)
            self.changed.notify_all()

    def decide(self, rank: int, score: float, uid: str) -> None:
        place = bisect_left(self.undecided, (rank, score, uid))
        free = self.settings.slots(self.prompts * self.n) - self.granted
        granted = place + (rank + 1) * (self.prompts - self.submitted) < free
        if granted or place >= free:
            self.undecided.pop(place)
            self.granted += granted
            self.decisions[uid, rank] = granted

    async def wait_for_slot(self, step: int, uid: str, rank: int) -> bool:
        async with self.changed:
            await self.changed.wait_for(lambda: (uid, rank) in self.decisions)
        return self.decisions[uid, rank]


def ends_of(prompts: int) -> Ends:
    """A step."""
    rng = Random(0)
    counts = [rng.randint(1, ROLLOUTS) if rng.random() < 0.5 else 0 for _ in range(prompts)]
    return [(f"{uid:05}", sorted(rng.random() for _ in range(count))) for uid, count in enumerate(counts)]


async def simulate(actor: Any, ends: Ends, limit: float) -> tuple[float, list[bool] | None]:
    """CPU seconds of a step, and its answers; None for the answers of a step that took longer than the limit."""
    await actor.add_prompts(1, len(ends))
    waiting: list[asyncio.Task[bool]] = []
    start = time.thread_time()
    for uid, scores in ends:
        await actor.submit(1, uid, scores)
        waiting += [asyncio.create_task(actor.wait_for_slot(1, uid, rank)) for rank in range(len(scores))]
        await asyncio.sleep(0)
        if time.thread_time() - start > limit:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            return limit, None
    return time.thread_time() - start, list(await asyncio.gather(*waiting))


def compare(prompts: int, limit: float) -> str:
    """A line of the first table."""
    ends = ends_of(prompts)
    after, answers = asyncio.run(simulate(SlotActor(AxpoSettings(), ROLLOUTS), ends, limit))
    before, expected = asyncio.run(simulate(WakeAll(AxpoSettings(), ROLLOUTS), ends, limit))
    assert expected in (None, answers), "both decide alike"
    more = "> " if expected is None else ""
    requests = sum(len(scores) for _, scores in ends)
    return f"| {prompts} | {requests} | {more}{before:.2f} | {after:.2f} | {more}{before / after:.0f} |"


class MeasuredActor(SlotActor):
    """The actor with a gauge."""

    async def state(self) -> tuple[int, int]:
        """Number of requests that are not answered, and the bytes of the process's resident set."""
        with open("/proc/self/statm") as file:
            return len(self._answers), int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def in_ray(prompts: int) -> str:
    """A line of the second table: all requests are sent and their calls opened, then the other prompts end."""
    ends = ends_of(prompts)
    options = {"num_cpus": 0, "max_concurrency": MAX_CONCURRENCY}
    actor = ray.remote(MeasuredActor).options(**options).remote(AxpoSettings(ratio=0.34), ROLLOUTS)
    running = 5 * prompts // 2  # with so many prompts that may submit, and as many slots, nothing is decided yet
    ray.get(actor.add_prompts.remote(1, prompts + running))
    _, empty = ray.get(actor.state.remote())
    start = time.monotonic()
    ray.get([actor.submit.remote(1, uid, scores) for uid, scores in ends])
    waiting = [actor.wait_for_slot.remote(1, uid, rank) for uid, scores in ends for rank in range(len(scores))]
    opened, full = ray.get(actor.state.remote())
    others = [actor.submit.remote(1, f"other {other}", []) for other in range(running)]
    ray.get(others)
    ray.get(waiting)
    seconds = time.monotonic() - start
    calls = len(ends) + len(waiting) + len(others)
    ray.kill(actor)
    return f"| {prompts} | {opened} | {calls} | {seconds:.1f} | {(full - empty) / 1024 / opened:.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--limit", type=float, default=120.0, help="CPU seconds after which the baseline is ended")
    parser.add_argument("--without-ray", action="store_true")
    arguments = parser.parse_args()
    print("| prompts | requests | waking all, CPU s | one future a request, CPU s | ratio |\n|---|---|---|---|---|")
    for prompts in PROMPTS:
        print(compare(prompts, arguments.limit), flush=True)
    if arguments.without_ray:
        return
    print("\n| prompts | calls open at once | calls | seconds | KiB an open call |\n|---|---|---|---|---|")
    environment = {"PYTHONPATH": ":".join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    options = {"num_cpus": 1, "num_gpus": 0, "include_dashboard": False, "log_to_driver": False}
    ray.init(**options, runtime_env={"env_vars": environment})
    for prompts in PROMPTS:
        print(in_ray(prompts), flush=True)


if __name__ == "__main__":
    main()
