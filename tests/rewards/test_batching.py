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
"""The asyncio front: few batches, order kept, and no failure of the scorer that stops the callers."""

import asyncio
import math
import time

import pytest
from scorer_support import LengthScorer, crop_bytes

from verl_mapo.rewards.scorers.batching import BatchingScorer
from verl_mapo.rewards.settings import ScorerSettings

CROP = crop_bytes(0)


def front(before=None, **options) -> BatchingScorer:
    settings = {"max_wait_ms": 20.0, "timeout_s": 5.0, **options}
    return BatchingScorer(LengthScorer(before=before), ScorerSettings(model="a/b", **settings))


def score_all(scorer: BatchingScorer, texts: list[str], crop: bytes = CROP) -> list[float | None]:
    async def run() -> list[float | None]:
        return await asyncio.wait_for(asyncio.gather(*(scorer.score(text, crop) for text in texts)), 20)

    return asyncio.run(run())


def numbers(count: int) -> list[str]:
    return [f"label {index}" for index in range(count)]


def test_what_waits_together_is_scored_together_and_in_order():
    scorer = front(max_batch=32)
    assert score_all(scorer, numbers(64)) == [float(index) for index in range(64)]
    assert scorer.scorer.batches == [32, 32]
    assert scorer.counts == {"scored": 64, "batches": 2}


def test_a_full_batch_does_not_wait():
    scorer = front(max_batch=4, max_wait_ms=10_000)
    start = time.monotonic()
    assert None not in score_all(scorer, numbers(8))
    assert time.monotonic() - start < 3


def test_late_comers_join_the_next_batch():
    scorer = front(before=lambda texts: time.sleep(0.4), max_wait_ms=0)

    async def run() -> list[float | None]:
        calls = [asyncio.create_task(scorer.score("label 0", CROP))]
        await asyncio.sleep(0.1)
        calls += [asyncio.create_task(scorer.score(text, CROP)) for text in numbers(10)]
        return await asyncio.gather(*calls)

    assert asyncio.run(run()) == [0.0, *map(float, range(10))]
    assert scorer.scorer.batches == [1, 10]


def test_the_event_loop_goes_on_while_a_batch_is_scored():
    scorer = front(before=lambda texts: time.sleep(0.3))

    async def run() -> int:
        call = asyncio.create_task(scorer.score("label 1", CROP))
        ticks = 0
        while not call.done():
            await asyncio.sleep(0.01)
            ticks += 1
        return ticks

    assert asyncio.run(run()) > 10


def test_a_failure_is_retried():
    failures = iter([True])

    def fail_once(texts: list[str]) -> None:
        if next(failures, False):
            raise RuntimeError("out of memory")

    scorer = front(before=fail_once)
    assert score_all(scorer, numbers(8)) == [float(index) for index in range(8)]
    assert scorer.scorer.batches == [8, 4, 4]


def test_one_bad_pair_costs_no_more_than_its_part_of_the_batch():
    def refuse_three(texts: list[str]) -> None:
        if "label 3" in texts:
            raise ValueError("not this one")

    scorer = front(before=refuse_three, retries=3)
    assert score_all(scorer, numbers(8)) == [0.0, 1.0, 2.0, None, 4.0, 5.0, 6.0, 7.0]
    assert scorer.counts["failed"] == 1 and scorer.counts["scored"] == 7


def test_a_scorer_that_always_fails_leaves_all_unscored_after_a_bounded_number_of_calls():
    def fail(texts: list[str]) -> None:
        raise RuntimeError("broken")

    scorer = front(before=fail, retries=2)
    assert score_all(scorer, numbers(8)) == [None] * 8
    assert len(scorer.scorer.batches) == 1 + 2 + 4
    assert scorer.counts["failed"] == 8


def test_a_stalled_batch_is_given_up_and_the_next_is_scored():
    stalls = iter([True])

    def stall_once(texts: list[str]) -> None:
        if next(stalls, False):
            time.sleep(2)

    scorer = front(before=stall_once, max_batch=2, timeout_s=0.2)
    start = time.monotonic()
    assert score_all(scorer, numbers(4)) == [None, None, 2.0, 3.0]
    assert time.monotonic() - start < 1.5
    assert scorer.counts["timed_out"] == 2 and scorer.counts["scored"] == 2


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_what_is_not_finite_is_no_score(value):
    scorer = front()
    assert score_all(scorer, ["label 1", f"label {value}", "label 2"]) == [1.0, None, 2.0]
    assert scorer.counts["not_finite"] == 1


def test_a_scorer_that_forgets_pairs_has_failed():
    scorer = front(retries=0)
    scorer.scorer.score = lambda texts, crops: [0.5] * (len(texts) - 1)
    assert score_all(scorer, numbers(3)) == [None] * 3
    assert scorer.counts["failed"] == 3


def test_a_crop_that_cannot_be_decoded_costs_itself_alone():
    scorer = front()

    async def run() -> list[float | None]:
        return await asyncio.gather(scorer.score("label 1", b"not an image"), scorer.score("label 2", CROP))

    assert asyncio.run(run()) == [None, 2.0]
    assert scorer.counts["undecodable"] == 1


def test_half_a_surrogate_pair_reaches_no_tokenizer():
    seen = []
    scorer = front(before=seen.extend)
    assert score_all(scorer, ["\ud800 4"]) == [4.0]
    assert seen == ["? 4"]


def test_a_caller_that_gave_up_does_not_disturb_the_others():
    scorer = front(before=lambda texts: time.sleep(0.1))

    async def run() -> float | None:
        leaves = asyncio.create_task(scorer.score("label 1", CROP))
        stays = asyncio.create_task(scorer.score("label 2", CROP))
        await asyncio.sleep(0.05)
        leaves.cancel()
        return await stays

    assert asyncio.run(run()) == 2.0


def test_it_serves_one_event_loop_after_another():
    scorer = front()
    assert score_all(scorer, ["label 1"]) == score_all(scorer, ["label 1"]) == [1.0]
    assert math.isclose(scorer.counts["batches"], 2)
