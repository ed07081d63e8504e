# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Scorers that all reward workers share: named Ray actors, each of which joins requests of all workers into batches.

The trainer starts them (:func:`start_scorers`) and keeps their handles; reward workers find them by name.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import count

import ray
from ray._private.state import available_resources_per_node
from ray.actor import ActorHandle
from ray.exceptions import ActorUnavailableError, GetTimeoutError, RayActorError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from verl_mapo.names import ALIGNMENT_NODE
from verl_mapo.rewards.scorers.base import build_scorer
from verl_mapo.rewards.scorers.batching import BatchingScorer
from verl_mapo.rewards.scorers.placement import Node, Place, plan_places
from verl_mapo.rewards.scorers.settings import ScorerSettings
from verl_mapo.settings import ConfigError

logger = logging.getLogger(__name__)

_NODE = f"{ALIGNMENT_NODE}.scorer"

TIMEOUT_FACTOR = 10
"""A worker waits this many times ``timeout_s`` for a score, because several batches may be queued in an actor."""

MOST_ACTORS = 2
"""Number of actors to which one pair is sent, one after the other, as long as they die."""

ALL_GPUS = {"RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES": "1"}
"""Environment of an actor that computes on a GPU without reserving it. Older versions of Ray hide all GPUs from such an
actor, and newer ones do under RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO=1; with this variable no version does."""


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
                if ray.get_runtime_context().was_current_actor_reconstructed:
                    logger.warning(
                        "verl-mapo: an actor of the scorer had died and is there again; its pairs are scored again."
                    )
        return True

    async def score(self, text: str, image: bytes) -> float | None:
        """See :meth:`BatchingScorer.score`."""
        await self.ready()
        return await self._scorer.score(text, image)


@dataclass
class _Copy:
    """One actor as a client sees it.

    Attributes:
        number: its place in the list of actors.
        handle: Ray's handle of it.
        waiting: number of replies that it owes this client.
        asked_at: the client's count of requests when it was last asked.
    """

    number: int
    handle: ActorHandle
    waiting: int = 0
    asked_at: int = 0


class RemoteScorer:
    """A reward worker's client of the actors.

    A pair goes to the actor that owes this worker the fewest replies; among several, to the one not asked for longest.

    Args:
        settings: the settings of the scorer, which identify the actors.

    Raises:
        ConfigError: the actors were not started.
    """

    def __init__(self, settings: ScorerSettings):
        self.settings = settings
        self.timeout_s = settings.timeout_s * TIMEOUT_FACTOR
        self._clock = count(1)
        try:
            self.copies = [_Copy(number, ray.get_actor(name)) for number, name in enumerate(_actor_names(settings))]
        except ValueError:
            raise ConfigError(
                f"{_NODE}.placement='actor' needs the trainer of this package, which starts the actors: start the run "
                "with verl-mapo train."
            ) from None

    async def score(self, text: str, image: bytes) -> float | None:
        """See :meth:`BatchingScorer.score`; also None when every actor is gone, or none replies in time.

        A pair whose actor dies is sent to another one; an actor that has died for good is asked no more. A pair is sent
        to :data:`MOST_ACTORS` at most, because it may be what they died of.

        Raises:
            ConfigError: an actor cannot load its scorer.
        """
        try:
            return await asyncio.wait_for(self._score(text, image), self.timeout_s)
        except asyncio.TimeoutError:
            logger.warning("A pair is unscored: the scorer's actor did not reply within %g s.", self.timeout_s)
            return None

    async def _score(self, text: str, image: bytes) -> float | None:
        for _ in range(min(MOST_ACTORS, len(self.copies))):
            if not self.copies:
                break
            copy = min(self.copies, key=lambda copy: (copy.waiting, copy.asked_at))
            copy.waiting += 1
            copy.asked_at = next(self._clock)
            try:
                return await copy.handle.score.remote(text, image)
            except RayActorError as error:
                self._note(copy, error)
            finally:
                copy.waiting -= 1
        left, made = len(self.copies), self.settings.replicas
        logger.warning(
            "A pair is unscored: no actor that was asked replied; %d of the scorer's %d are left.", left, made
        )
        return None

    def _note(self, copy: _Copy, error: RayActorError) -> None:
        """Forget an actor that has died for good, and say so once."""
        if not isinstance(error, ActorUnavailableError) and copy in self.copies:
            self.copies = [other for other in self.copies if other is not copy]
            logger.error(
                "Actor %d of the scorer's %d is gone, and %d are left: %s",
                copy.number,
                self.settings.replicas,
                len(self.copies),
                _first_line(error),
            )


def start_scorers(
    settings: ScorerSettings, training: Sequence[int] = (), timeout_s: float = 600.0
) -> list[ActorHandle]:
    """Create the actors and wait until their scorers are loaded. The trainer calls this once, before verl's workers.

    Runs in one namespace of Ray share the actors if their settings agree.

    Args:
        settings: the settings of the scorer.
        training: number of GPUs of each bundle that verl will reserve on one node.
        timeout_s: longest time to wait for the scorers, in seconds.

    Returns:
        The ``replicas`` handles. Keep them for as long as the actors are needed: Ray ends an actor with its handle.

    Raises:
        ConfigError: the GPUs that the settings ask for are not there, or a scorer cannot be loaded.
    """
    places = plan_places(settings, _nodes(), training)
    handles = [_actor(settings, name, place) for name, place in zip(_actor_names(settings), places, strict=True)]
    try:
        ray.get([handle.ready.remote() for handle in handles], timeout=timeout_s)
    except (GetTimeoutError, RayActorError) as error:
        late = isinstance(error, GetTimeoutError)
        reason = f"not all were ready within {timeout_s:g} s" if late else f"one of them died: {_first_line(error)}"
        raise ConfigError(
            f"{_NODE}.replicas={settings.replicas} scorers of model={settings.model!r} could not be started: {reason}. "
            "The actor's log in Ray's session folder says more; set fewer replicas where memory is short."
        ) from None
    return handles


def _actor_names(settings: ScorerSettings) -> list[str]:
    """The names of the actors. They hold a digest of the settings, so that other settings have other actors."""
    digest = hashlib.sha256(json.dumps(asdict(settings), sort_keys=True, default=repr).encode()).hexdigest()[:12]
    return [f"verl_mapo_scorer_{digest}_{number}" for number in range(settings.replicas)]


def _actor(settings: ScorerSettings, name: str, place: Place) -> ActorHandle:
    """The actor with this name; created at its place if there is none, without waiting for it."""
    shares_gpu = place.device != "cpu" and not settings.num_gpus
    return (
        ray.remote(ScorerActor)
        .options(
            name=name,
            get_if_exists=True,
            num_cpus=0,  # else Ray holds a CPU for each, and verl's own reservations of CPUs may not fit
            num_gpus=settings.num_gpus,
            max_restarts=settings.retries,
            max_task_retries=settings.retries,
            # A reserved share elsewhere could be one that training needs.
            scheduling_strategy=NodeAffinitySchedulingStrategy(place.node_id, soft=not settings.num_gpus),
            runtime_env={"env_vars": ALL_GPUS} if shares_gpu else {},
        )
        .remote(replace(settings, device=place.device))
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")


def _nodes() -> list[Node]:
    free = available_resources_per_node()
    return [
        Node(node["NodeID"], int(node["Resources"].get("GPU", 0)), free.get(node["NodeID"], {}).get("GPU", 0.0))
        for node in ray.nodes()
        if node["Alive"] and node["Resources"].get("CPU")
    ]
