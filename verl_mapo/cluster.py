# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""A run in its Ray cluster: the settings of Ray, the trainer's node, and the watch of the actors.

The launcher sees the processes of this machine that live for longer than its interval. Processes in a cluster that was
there before belong to others, and may be on other machines. Ray's own table of actors names all that have died, and
needs no dashboard for that. What is no actor is not in it: a process of vLLM that dies while the actor that started it
lives.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Container, Mapping
from functools import partial
from typing import Any

import psutil
import ray
from omegaconf import DictConfig
from ray._private import state
from ray._private.services import canonicalize_bootstrap_address
from ray.core.generated.common_pb2 import ActorDeathCause, ActorDiedErrorContext
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from verl_mapo import driver_threads
from verl_mapo.launcher import GRACE_S, NEEDED, WORKER_DIED
from verl_mapo.settings import ConfigError, is_null, select

POLL_S = 10.0
"""Interval, in seconds, at which Ray is asked."""

_RAY_INIT = "ray_kwargs.ray_init"

OF_OWN_RAY = (
    *("num_cpus", "num_gpus", "object_store_memory", "resources", "labels"),
    *("_system_config", "_enable_object_reconstruction", "_node_name"),
)
"""Settings of ``ray_kwargs.ray_init`` that ``ray.init`` refuses where it joins a cluster."""

METRICS_FILE = "VERL_FILE_LOGGER_PATH"
"""Environment variable with the path of the metrics file, which verl's logger ``file`` reads in the trainer."""


def check_ray_settings(config: DictConfig) -> None:
    """Check that a run which joins a Ray cluster sets nothing of a Ray of its own.

    Args:
        config: the whole configuration.

    Raises:
        ConfigError: it does, the address is none, or the node holds no settings, where ``ray.init`` would fail.
    """
    given = select(config, _RAY_INIT, {})
    if is_null(config, _RAY_INIT) or not isinstance(given, Mapping | DictConfig):
        raise ConfigError(
            f"{_RAY_INIT}={given or 'null'} is refused: it holds several settings; leave it out, or set each by "
            f"itself, for example {_RAY_INIT}.num_cpus=16."
        )
    address = given.get("address")
    asked = f"{_RAY_INIT}.address={address}" if address else f"RAY_ADDRESS={os.environ.get('RAY_ADDRESS')}"
    if "://" in asked:
        return  # Ray Client has rules of its own
    try:
        joined = canonicalize_bootstrap_address(address, given.get("_temp_dir"))
        if joined is not None and not 0 < int(joined.rpartition(":")[2]) < 65536:
            raise ValueError("no port")
    except (ValueError, TypeError):
        raise ConfigError(f"{asked} is refused: give HOST:PORT of a Ray cluster, auto, or local.") from None
    wrong = [f"{_RAY_INIT}.{name}" for name in OF_OWN_RAY if given.get(name) is not None]
    if joined is not None and wrong:
        values = ", ".join(f"{name}={select(config, name)}" for name in wrong)
        own = f"{_RAY_INIT}.address=local" if address else "RAY_ADDRESS=local in the environment"
        raise ConfigError(
            f"{values}: only a run that starts its own Ray takes this, and this one would join the Ray cluster at "
            f"{joined}. Set {' '.join(f'{name}=null' for name in wrong)} to join it, or {own} to start another Ray."
        )


class TrainerHere:
    """The class of verl's trainer, as main_ppo uses it; its actor is started on the node of this process, and watched.

    Ray would start an actor that asks for no resource, as verl's trainer, on any node of the cluster.

    Args:
        actor: a class decorated with ``ray.remote``.
        options: options of the actor.
    """

    def __init__(self, actor: Any, **options: Any):
        self._actor = actor
        self._options = options

    def options(self, **options: Any) -> TrainerHere:
        """The same with further options, as of Ray's own classes."""
        return TrainerHere(self._actor, **self._options | options)

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """Start the actor, with the metrics file of this process and its number of threads; Ray must be running."""
        watch_cluster()
        runtime_env = dict(self._options.get("runtime_env") or {})
        variables = driver_threads.environment()
        if METRICS_FILE in os.environ:
            variables[METRICS_FILE] = os.environ[METRICS_FILE]
        if variables:
            runtime_env["env_vars"] = {**runtime_env.get("env_vars", {}), **variables}
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        options = {**self._options, "num_cpus": 0, "scheduling_strategy": here, "runtime_env": runtime_env}
        return self._actor.options(**options).remote(*args, **kwargs)


def watch_cluster() -> threading.Thread:
    """Start the watch of this process's actors; Ray must be running.

    Returns:
        the thread that watches; it ends when this process has left Ray.
    """
    context = ray.get_runtime_context()
    job = context.get_job_id()
    if not any(child.name().startswith("gcs_server") for child in psutil.Process().children(recursive=True)):
        _say(f"watching the run in the Ray cluster at {context.gcs_address}, job {job}.")
    dead = partial(dead_actors, ray.JobID(bytes.fromhex(job)))
    thread = threading.Thread(target=watch, args=(dead, _stop), daemon=True)
    thread.start()
    return thread


def dead_actors(job: ray.JobID) -> list[str] | None:
    """The beginning of a sentence for every needed actor of a job that has died; None if this process has left Ray.

    An actor that its owner has released is none, as verl's trainer when a run has ended, nor are the actors that it
    owned and that end with it. The beginning gives the actor's class, process and node, and Ray's reason.

    Nothing is called here that starts a Ray where there is none, as ``ray.get_runtime_context`` does.

    Args:
        job: the job of this process.
    """
    if not ray.is_initialized():
        return None
    gone = [*state.actors(job_id=job, actor_state_name="DEAD").values()]
    released = [actor["Address"] for actor in gone if _is_released(actor["DeathCause"])]
    dead = [
        actor
        for actor in gone
        if NEEDED.match(f"ray::{actor['ActorClassName'].rpartition('.')[2]}")
        and actor["Address"] not in released
        and actor["OwnerAddress"] not in released
    ]
    alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]} if dead else set()
    return [_described(actor, alive) for actor in dead]


def watch(dead: Callable[[], list[str] | None], stop: Callable[[str], Any], grace_s: float = GRACE_S) -> None:
    """Call ``stop`` with a sentence when a needed actor has been dead for some time, and return.

    verl ends its actors itself when a run ends, and fails by itself after many errors; the process of the driver then
    ends within that time.

    Args:
        dead: returns the dead actors, or None where nothing is left to watch; see :func:`dead_actors`.
        stop: ends the run.
        grace_s: seconds that the run has to end by itself after an actor has died.
    """
    first, died_at, told = "", 0.0, False
    while True:
        try:
            found = [] if first else dead()
        except Exception as error:  # whatever Ray's client raises
            found = []
            if not told:
                told = True
                _say(f"Ray does not say which actors have died ({_first_sentence(error)}): none is seen until it does.")
        if found is None:
            return
        if found:
            first, died_at = found[0], time.monotonic()
            _say(f"{first}.")
        if first and time.monotonic() - died_at >= grace_s:
            stop(f"stopped: {first}, and verl was still waiting {grace_s:g} seconds later.")
            return
        time.sleep(POLL_S)


def _is_released(cause: ActorDeathCause) -> bool:
    error = ActorDiedErrorContext
    return cause.actor_died_error_context.reason in (error.OUT_OF_SCOPE, error.REF_DELETED)


def _described(actor: Mapping[str, Any], alive: Container[str]) -> str:
    address, cause = actor["Address"], actor["DeathCause"]
    place = f"node {address['IPAddress']}" + ("" if address["NodeID"] in alive else ", which is dead itself")
    context = cause.WhichOneof("context")
    reason = getattr(getattr(cause, context), "error_message", "") if context else ""
    died = f"{actor['ActorClassName']} (pid {actor['Pid']} on {place}) died"
    return f"{died}: {_first_sentence(reason)}" if reason else died


def _first_sentence(text: object) -> str:
    """The first sentence, or the first line if that is shorter, without its full stop."""
    return str(text).strip().partition("\n")[0].partition(". ")[0].rstrip(".")


def _say(sentence: str) -> None:
    sys.stderr.write(f"verl-mapo: {sentence}\n")
    sys.stderr.flush()


def _stop(sentence: str) -> None:
    """End this process at once; Ray then ends the actors of its job."""
    _say(sentence)
    sys.stdout.flush()
    os._exit(WORKER_DIED)
