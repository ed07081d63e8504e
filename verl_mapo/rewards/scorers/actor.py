# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""One scorer for all reward workers: a named Ray actor that joins the requests of all workers into batches."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from dataclasses import asdict

import ray
from ray.actor import ActorHandle
from ray.exceptions import GetTimeoutError, RayActorError

from verl_mapo.names import ALIGNMENT_NODE
from verl_mapo.rewards.scorers.base import build_scorer
from verl_mapo.rewards.scorers.batching import BatchingScorer
from verl_mapo.rewards.scorers.settings import ScorerSettings
from verl_mapo.settings import ConfigError

logger = logging.getLogger(__name__)

TIMEOUT_FACTOR = 10
"""A worker waits this many times ``timeout_s`` for the actor, because several batches may be queued there."""


class ScorerActor:
    """The class of the actor: one :class:`BatchingScorer`, loaded at the first call and again after a restart.

    Args:
        settings: the settings of the scorer.
    """

    def __init__(self, settings: ScorerSettings):
        self.settings = settings
        self._scorer: BatchingScorer | None = None
        self._loading = asyncio.Lock()

    async def ready(self) -> bool:
        """Load the scorer if it is not loaded yet.

        Raises:
            ConfigError: it cannot be loaded.
        """
        async with self._loading:
            if self._scorer is None:
                scorer = await asyncio.to_thread(build_scorer, self.settings)
                self._scorer = BatchingScorer(scorer, self.settings)
        return True

    async def score(self, text: str, image: bytes) -> float | None:
        """See :meth:`BatchingScorer.score`."""
        await self.ready()
        return await self._scorer.score(text, image)


class RemoteScorer:
    """A reward worker's client of the actor.

    Args:
        settings: the settings of the scorer, which identify the actor.
    """

    def __init__(self, settings: ScorerSettings):
        self.settings = settings
        self.handle = scorer_actor(settings)
        self.timeout_s = settings.timeout_s * TIMEOUT_FACTOR

    async def score(self, text: str, image: bytes) -> float | None:
        """See :meth:`BatchingScorer.score`; also None when the actor is gone or does not reply in time.

        Raises:
            ConfigError: the actor cannot load its scorer.
        """
        try:
            return await asyncio.wait_for(self.handle.score.remote(text, image), self.timeout_s)
        except asyncio.TimeoutError:
            logger.warning("A pair is unscored: the scorer's actor did not reply within %g s.", self.timeout_s)
        except RayActorError as error:
            logger.warning("A pair is unscored: the scorer's actor is gone: %s", error)
        return None


def scorer_actor(settings: ScorerSettings) -> ActorHandle:
    """The actor with these settings in the namespace of this job; created if there is none, without waiting for it.

    Its name holds a digest of the settings, so two runs in one namespace share the actor only if their settings agree.
    The actor lives as long as the handle that was made first.
    """
    digest = hashlib.sha256(json.dumps(asdict(settings), sort_keys=True, default=repr).encode()).hexdigest()[:12]
    options = {
        "name": f"verl_mapo_scorer_{digest}",
        "get_if_exists": True,
        "num_gpus": settings.num_gpus,
        "max_restarts": settings.retries,
        "max_task_retries": settings.retries,
    }
    return ray.remote(ScorerActor).options(**options).remote(settings)


def start_actor(settings: ScorerSettings, timeout_s: float = 600.0) -> ActorHandle:
    """Create the actor and wait until its scorer is loaded. A driver calls this once, before it starts reward workers.

    Args:
        settings: the settings of the scorer.
        timeout_s: longest time to wait for the scorer, in seconds.

    Returns:
        The handle. Keep it for as long as the actor is needed: Ray ends the actor with it.

    Raises:
        ConfigError: no node has the GPU share free, or the scorer cannot be loaded.
    """
    handle = scorer_actor(settings)
    try:
        ray.get(handle.ready.remote(), timeout=timeout_s)
    except GetTimeoutError:
        raise ConfigError(
            f"{ALIGNMENT_NODE}.scorer.num_gpus={settings.num_gpus:g} is refused: no scorer was ready within "
            f"{timeout_s:g} s; leave that share of a GPU free (verl reserves all of trainer.n_gpus_per_node), or set "
            "it to 0 to score on the CPU."
        ) from None
    return handle
