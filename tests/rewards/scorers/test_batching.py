# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The batching scorer: few batches, scores in order, and callers that go on when the scorer fails."""

import asyncio
import threading
from types import SimpleNamespace

import pytest
from support.scorers import NumberScorer, picture_bytes

from verl_mapo.rewards.scorers.batching import BatchingScorer
from verl_mapo.rewards.scorers.settings import ScorerSettings

IMAGE = picture_bytes(0)
BOUND_S = 600  # of what a passing test never waits for


def batching(before=None, **changed) -> BatchingScorer:
    settings = {"max_wait_ms": 20.0, "timeout_s": 120.0, **changed}
    return BatchingScorer(NumberScorer(before=before), ScorerSettings(model="a/b", **settings))


def score_all(scorer: BatchingScorer, texts: list[str], image: bytes = IMAGE) -> list[float | None]:
    async def run() -> list[float | None]:
        return await asyncio.gather(*(scorer.score(text, image) for text in texts))

    return asyncio.run(run())


class Held:
    """A scorer that scores its first batch only when it is told to.

    Attributes:
        began: set when the scorer has got its first batch.
        go: sets it free.
    """

    def __init__(self) -> None:
        self.began, self.go = threading.Event(), threading.Event()

    def __call__(self, texts: list[str]) -> None:
        self.began.set()
        self.go.wait(BOUND_S)


def numbers(count: int) -> list[str]:
    return [f"label {index}" for index in range(count)]


def test_waiting_pairs_are_scored_in_one_batch_and_in_order():
    scorer = batching(max_batch=32)
    assert score_all(scorer, numbers(64)) == [float(index) for index in range(64)]
    assert scorer.scorer.batches == [32, 32]


def test_full_batch_does_not_wait():
    forever = SimpleNamespace(max_batch=4, max_wait_ms=1e9, timeout_s=120.0, retries=0)
    assert None not in score_all(BatchingScorer(NumberScorer(), forever), numbers(8))


def test_late_pairs_join_the_next_batch():
    held = Held()
    scorer = batching(before=held, max_wait_ms=0)

    async def run() -> list[float | None]:
        calls = [asyncio.create_task(scorer.score("label 0", IMAGE))]
        await asyncio.to_thread(held.began.wait, BOUND_S)
        calls += [asyncio.create_task(scorer.score(text, IMAGE)) for text in numbers(10)]
        await asyncio.sleep(0)  # the calls begin
        held.go.set()
        return await asyncio.gather(*calls)

    assert asyncio.run(run()) == [0.0, *map(float, range(10))]
    assert scorer.scorer.batches == [1, 10]


def test_event_loop_runs_while_a_batch_is_scored():
    held = Held()
    scorer = batching(before=held)

    async def run() -> float | None:
        call = asyncio.create_task(scorer.score("label 1", IMAGE))
        await asyncio.to_thread(held.began.wait, BOUND_S)
        assert not call.done()
        held.go.set()  # only the event loop gets here, while the scorer waits
        return await call

    assert asyncio.run(run()) == 1.0


def test_failed_batch_is_scored_again_in_halves():
    failures = iter([True])

    def fail_once(texts: list[str]) -> None:
        if next(failures, False):
            raise RuntimeError("out of memory")

    scorer = batching(before=fail_once)
    assert score_all(scorer, numbers(8)) == [float(index) for index in range(8)]
    assert scorer.scorer.batches == [8, 4, 4]


def test_bad_pair_alone_is_unscored_after_enough_retries(caplog):
    def refuse_three(texts: list[str]) -> None:
        if "label 3" in texts:
            raise ValueError("not this one")

    scorer = batching(before=refuse_three, retries=3)
    assert score_all(scorer, numbers(8)) == [0.0, 1.0, 2.0, None, 4.0, 5.0, 6.0, 7.0]
    assert "1 pairs are unscored: ValueError: not this one" in caplog.text


def test_scorer_that_always_fails_is_called_a_bounded_number_of_times():
    def fail(texts: list[str]) -> None:
        raise RuntimeError("broken")

    scorer = batching(before=fail, retries=2)
    assert score_all(scorer, numbers(8)) == [None] * 8
    assert len(scorer.scorer.batches) == 1 + 2 + 4


def test_stalled_batch_is_abandoned_and_the_next_is_scored(caplog):
    held = Held()

    def stall_once(texts: list[str]) -> None:
        if texts == numbers(2):
            held(texts)

    scorer = batching(before=stall_once, max_batch=2, timeout_s=3.0)
    assert score_all(scorer, numbers(4)) == [None, None, 2.0, 3.0]
    assert held.began.is_set() and not held.go.is_set(), "the first batch is still waiting"
    assert "2 pairs are unscored: no result within 3 s." in caplog.text
    held.go.set()


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_pair_with_a_score_that_is_not_finite_is_unscored(value, caplog):
    scorer = batching()
    assert score_all(scorer, ["label 1", f"label {value}", "label 2"]) == [1.0, None, 2.0]
    assert f"A pair is unscored: the scorer returned {value}." in caplog.text


def test_batch_with_too_few_scores_has_failed():
    scorer = batching(retries=0)
    scorer.scorer.score = lambda texts, images: [0.5] * (len(texts) - 1)
    assert score_all(scorer, numbers(3)) == [None] * 3


def test_pair_whose_image_cannot_be_decoded_is_unscored_alone(caplog):
    scorer = batching()

    async def run() -> list[float | None]:
        return await asyncio.gather(scorer.score("label 1", b"not an image"), scorer.score("label 2", IMAGE))

    assert asyncio.run(run()) == [None, 2.0]
    assert "A pair is unscored: its image cannot be decoded" in caplog.text


def test_half_of_a_surrogate_pair_is_replaced_before_scoring():
    seen = []
    scorer = batching(before=seen.extend)
    assert score_all(scorer, ["\ud800 4"]) == [4.0]
    assert seen == ["? 4"]


def test_cancelled_call_does_not_disturb_the_others():
    held = Held()
    scorer = batching(before=held)

    async def run() -> float | None:
        leaves = asyncio.create_task(scorer.score("label 1", IMAGE))
        stays = asyncio.create_task(scorer.score("label 2", IMAGE))
        await asyncio.to_thread(held.began.wait, BOUND_S)
        leaves.cancel()
        held.go.set()
        return await stays

    assert asyncio.run(run()) == 2.0


def test_scorer_works_in_one_event_loop_after_another():
    scorer = batching()
    assert score_all(scorer, ["label 1"]) == score_all(scorer, ["label 1"]) == [1.0]
    assert scorer.scorer.batches == [1, 1]
