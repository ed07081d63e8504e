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
"""The asyncio front of a blocking scorer: calls that wait together are scored together, and none waits for ever."""

from __future__ import annotations

import asyncio
import io
import logging
import math
import queue
import threading
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from PIL import Image

from verl_mapo.rewards.scorers.base import AlignmentScorer
from verl_mapo.rewards.settings import ScorerSettings

logger = logging.getLogger(__name__)

SCORED, UNDECODABLE, NOT_FINITE, FAILED, TIMED_OUT = "scored", "undecodable", "not_finite", "failed", "timed_out"
"""What became of a pair: the keys of :attr:`BatchingScorer.counts`."""


@dataclass(frozen=True, eq=False)
class _Pair:
    text: str
    crop: bytes
    value: asyncio.Future[float | None]


class BatchingScorer:
    """Joins concurrent calls of one event loop into batches, scored one at a time in one thread.

    A batch that raises is tried again in halves, so that memory that ran out or one bad pair costs few pairs. A batch
    that takes longer than ``timeout_s`` is given up together with its thread; the next one gets a new thread.

    Args:
        scorer: called from one thread at a time, unless a call stalled.
        settings: ``max_batch``, ``max_wait_ms``, ``timeout_s`` and ``retries`` are read.

    Attributes:
        counts: pairs by what became of them, see :data:`SCORED`; ``batches`` counts the calls of the scorer.
    """

    def __init__(self, scorer: AlignmentScorer, settings: ScorerSettings):
        self.scorer = scorer
        self.settings = settings
        self.counts: Counter[str] = Counter()
        self._waiting: deque[_Pair] = deque()
        self._full = asyncio.Event()
        self._drainer: asyncio.Task[None] | None = None
        self._thread = _Thread()

    async def score(self, text: str, crop: bytes) -> float | None:
        """The alignment of a text and an encoded image; None when it could not be had."""
        pair = _Pair(text, crop, asyncio.get_running_loop().create_future())
        self._waiting.append(pair)
        if self._drainer is None or self._drainer.done():
            self._full = asyncio.Event()
            self._drainer = asyncio.create_task(self._drain())
        if len(self._waiting) >= self.settings.max_batch:
            self._full.set()
        return await pair.value

    async def _drain(self) -> None:
        """Score batch after batch until nothing waits."""
        while self._waiting:
            with suppress(asyncio.TimeoutError):  # no full batch in time: what there is
                await asyncio.wait_for(self._full.wait(), self.settings.max_wait_ms / 1000)
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), self.settings.max_batch))]
            if len(self._waiting) < self.settings.max_batch:
                self._full.clear()
            for pair, outcome in zip(batch, await self._attempt(batch, self.settings.retries), strict=True):
                self.counts[outcome if isinstance(outcome, str) else SCORED] += 1
                if not pair.value.done():
                    pair.value.set_result(None if isinstance(outcome, str) else outcome)

    async def _attempt(self, batch: list[_Pair], retries: int) -> list[float | str]:
        """The score of each pair, or the name of what went wrong with it."""
        self.counts["batches"] += 1
        call = self._thread.submit(_score, self.scorer, batch)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(call), self.settings.timeout_s)
        except asyncio.TimeoutError:
            logger.warning("%d pairs are unscored: no result within %g s.", len(batch), self.settings.timeout_s)
            self._thread.abandon()
            self._thread = _Thread()
            return [TIMED_OUT] * len(batch)
        except Exception as error:
            if retries == 0:
                logger.warning("%d pairs are unscored: %s: %s", len(batch), type(error).__name__, error)
                return [FAILED] * len(batch)
        middle = (len(batch) + 1) // 2
        halves = [half for half in (batch[:middle], batch[middle:]) if half]
        return [outcome for half in halves for outcome in await self._attempt(half, retries - 1)]


def _score(scorer: AlignmentScorer, batch: list[_Pair]) -> list[float | str]:
    """Decode and score; runs in the thread."""
    outcomes: list[float | str] = [UNDECODABLE] * len(batch)
    places, texts, crops = [], [], []
    for place, pair in enumerate(batch):
        try:
            crops.append(Image.open(io.BytesIO(pair.crop)).convert("RGB"))
        except (OSError, ValueError, SyntaxError) as error:
            logger.warning("A crop cannot be decoded: %s", error)
            continue
        places.append(place)
        # A label read from JSON may hold half a surrogate pair, which tokenizers refuse.
        texts.append(pair.text.encode("utf-8", "replace").decode())
    values = scorer.score(texts, crops) if texts else []
    for place, value in zip(places, values, strict=True):
        outcomes[place] = float(value) if math.isfinite(value) else NOT_FINITE
    return outcomes


class _Thread:
    """One daemon thread that makes calls in order; an executor's would keep a process alive over a stalled call."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]] | None] = (
            queue.SimpleQueue()
        )
        threading.Thread(target=self._run, name="alignment-scorer", daemon=True).start()

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        """Make a call; the future can no longer be cancelled once the call has begun."""
        future: Future[Any] = Future()
        self._calls.put((future, function, args))
        return future

    def abandon(self) -> None:
        """Let the thread end after the call it is in."""
        self._calls.put(None)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            future, function, args = call
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(function(*args))
            except Exception as error:
                future.set_exception(error)
