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
"""One scorer for all reward workers: a named Ray actor, which joins the requests of all of them into batches."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import Counter
from dataclasses import asdict

import ray
from ray.actor import ActorHandle
from ray.exceptions import GetTimeoutError, RayActorError

from verl_mapo.rewards.scorers.base import build_scorer
from verl_mapo.rewards.scorers.batching import FAILED, SCORED, TIMED_OUT, BatchingScorer
from verl_mapo.rewards.settings import NODE, ScorerSettings
from verl_mapo.settings import ConfigError

logger = logging.getLogger(__name__)

PATIENCE = 10
"""How many times ``timeout_s`` a worker waits for the actor, whose queue may hold several batches."""


class ScorerActor:
    """Runs in the actor: one :class:`BatchingScorer`, loaded at the first call and again after a restart."""

    def __init__(self, settings: ScorerSettings):
        self.settings = settings
        self._scorer: BatchingScorer | None = None
        self._loading = asyncio.Lock()

    async def ready(self) -> bool:
        """Load the scorer where that has not been done.

        Raises:
            ConfigError: it cannot be loaded.
        """
        async with self._loading:
            if self._scorer is None:
                scorer = await asyncio.to_thread(build_scorer, self.settings)
                self._scorer = BatchingScorer(scorer, self.settings)
        return True

    async def score(self, text: str, crop: bytes) -> float | None:
        """See :meth:`BatchingScorer.score`."""
        await self.ready()
        return await self._scorer.score(text, crop)

    async def counts(self) -> Counter[str]:
        """See :attr:`BatchingScorer.counts`, over all workers."""
        return self._scorer.counts if self._scorer else Counter()


class RemoteScorer:
    """What a reward worker holds of the actor.

    Attributes:
        counts: pairs of this worker by what became of them.
    """

    def __init__(self, settings: ScorerSettings):
        self.settings = settings
        self.handle = scorer_actor(settings)
        self.patience_s = settings.timeout_s * PATIENCE
        self.counts: Counter[str] = Counter()

    async def score(self, text: str, crop: bytes) -> float | None:
        """The alignment of a text and an encoded image; None when it could not be had.

        Raises:
            ConfigError: the actor cannot load its scorer.
        """
        try:
            value = await asyncio.wait_for(self.handle.score.remote(text, crop), self.patience_s)
        except asyncio.TimeoutError:
            logger.warning("A pair is unscored: the scorer's actor gave no answer within %g s.", self.patience_s)
            self.counts[TIMED_OUT] += 1
            return None
        except RayActorError as error:
            logger.warning("A pair is unscored: the scorer's actor is gone: %s", error)
            self.counts[FAILED] += 1
            return None
        self.counts[FAILED if value is None else SCORED] += 1
        return value


def scorer_actor(settings: ScorerSettings) -> ActorHandle:
    """The actor of these settings in the namespace of this job; made where there is none, without waiting for it.

    It lives as long as the handle that was made first. Two runs in one namespace share it only if their settings agree.
    """
    digest = hashlib.sha256(repr(sorted(asdict(settings).items())).encode()).hexdigest()[:12]
    options = {
        "name": f"verl_mapo_scorer_{digest}",
        "get_if_exists": True,
        "num_gpus": settings.num_gpus,
        "max_restarts": settings.retries,
        "max_task_retries": settings.retries,
    }
    return ray.remote(ScorerActor).options(**options).remote(settings)


def start_actor(settings: ScorerSettings, timeout_s: float = 600.0) -> ActorHandle:
    """Make the actor and wait until its scorer is loaded: what a driver calls once, before it starts reward workers.

    Returns:
        The handle, to be kept for as long as the actor is needed: Ray ends the actor with it.

    Raises:
        ConfigError: no node has the GPU share free, or the scorer cannot be loaded.
    """
    handle = scorer_actor(settings)
    try:
        ray.get(handle.ready.remote(), timeout=timeout_s)
    except GetTimeoutError:
        raise ConfigError(
            f"{NODE}.scorer.num_gpus={settings.num_gpus:g} is refused: no scorer was ready within {timeout_s:g} s; "
            "leave that share of a GPU free (verl reserves all of trainer.n_gpus_per_node), or set it to 0 for the CPU."
        ) from None
    return handle
