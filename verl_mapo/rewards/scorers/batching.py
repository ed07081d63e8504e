# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The asyncio front of a blocking scorer: it joins waiting calls into batches and bounds how long a call may take."""

from __future__ import annotations

import asyncio
import io
import logging
import math
import queue
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from PIL import Image

from verl_mapo.rewards.scorers.base import AlignmentScorer
from verl_mapo.rewards.scorers.settings import ScorerSettings

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class _Pair:
    text: str
    image: bytes
    value: asyncio.Future[float | None]


class BatchingScorer:
    """Joins concurrent calls of one event loop into batches, which are scored one at a time in one thread.

    A batch that raises is cut in half and scored again, so that running out of memory or one bad pair leaves few pairs
    unscored. A batch that takes longer than ``timeout_s`` is abandoned together with its thread, and the next batch
    gets a new thread.

    Args:
        scorer: the blocking scorer. One thread at a time calls it, except after a call that stalled.
        settings: ``max_batch``, ``max_wait_ms``, ``timeout_s`` and ``retries`` are read.
    """

    def __init__(self, scorer: AlignmentScorer, settings: ScorerSettings):
        self.scorer = scorer
        self.settings = settings
        self._waiting: deque[_Pair] = deque()
        self._full = asyncio.Event()
        self._drainer: asyncio.Task[None] | None = None
        self._thread = _Thread()

    async def score(self, text: str, image: bytes) -> float | None:
        """The alignment of a text and an encoded image; None when the scorer gave no finite value in time.

        Args:
            text: a label or a description.
            image: an encoded image, in any format that PIL reads.
        """
        pair = _Pair(text, image, asyncio.get_running_loop().create_future())
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
            with suppress(asyncio.TimeoutError):  # after max_wait_ms the batch is scored although it is not full
                await asyncio.wait_for(self._full.wait(), self.settings.max_wait_ms / 1000)
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), self.settings.max_batch))]
            if len(self._waiting) < self.settings.max_batch:
                self._full.clear()
            for pair, value in zip(batch, await self._attempt(batch, self.settings.retries), strict=True):
                if not pair.value.done():
                    pair.value.set_result(value)

    async def _attempt(self, batch: list[_Pair], retries: int) -> list[float | None]:
        """The score of each pair; None for a pair without one."""
        call = self._thread.submit(_score, self.scorer, batch)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(call), self.settings.timeout_s)
        except asyncio.TimeoutError:
            logger.warning("%d pairs are unscored: no result within %g s.", len(batch), self.settings.timeout_s)
            self._thread.abandon()
            self._thread = _Thread()
            return [None] * len(batch)
        except Exception as error:
            if retries == 0:
                logger.warning("%d pairs are unscored: %s: %s", len(batch), type(error).__name__, error)
                return [None] * len(batch)
        middle = (len(batch) + 1) // 2
        halves = [half for half in (batch[:middle], batch[middle:]) if half]
        return [value for half in halves for value in await self._attempt(half, retries - 1)]


def _score(scorer: AlignmentScorer, batch: list[_Pair]) -> list[float | None]:
    """Decode the images and score the pairs; runs in the thread."""
    scores: list[float | None] = [None] * len(batch)
    places, texts, images = [], [], []
    for place, pair in enumerate(batch):
        try:
            images.append(Image.open(io.BytesIO(pair.image)).convert("RGB"))
        except (OSError, ValueError, SyntaxError) as error:
            logger.warning("A pair is unscored: its image cannot be decoded: %s", error)
            continue
        places.append(place)
        # A label read from JSON may hold half a surrogate pair, which tokenizers refuse.
        texts.append(pair.text.encode("utf-8", "replace").decode())
    values = scorer.score(texts, images) if texts else []
    for place, value in zip(places, values, strict=True):
        if math.isfinite(value):
            scores[place] = float(value)
        else:
            logger.warning("A pair is unscored: the scorer returned %s.", value)
    return scores


class _Thread:
    """One daemon thread that makes calls in order. An executor's thread would keep the process alive on a stall."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]] | None] = (
            queue.SimpleQueue()
        )
        threading.Thread(target=self._run, name="alignment-scorer", daemon=True).start()

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        """Queue a call. Its future can be cancelled only before the call begins."""
        future: Future[Any] = Future()
        self._calls.put((future, function, args))
        return future

    def abandon(self) -> None:
        """Let the thread end after its current call."""
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
