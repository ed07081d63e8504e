# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Checks that verl loads this package, here and in a new ray actor, and that verl has every symbol it uses.

verl catches every error that a plugin raises while it is imported, so only verl's registries show whether the plugin
was loaded. This module must not import ``verl_mapo.registration``: verl has to do so, through the entry point.
"""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata

from ray.exceptions import GetTimeoutError

from verl_mapo import names
from verl_mapo.platforms import cpu
from verl_mapo.ray_errors import reason
from verl_mapo.verl_symbols import CPU_PLATFORM, VERL_SYMBOLS, has_symbol
from verl_mapo.versions import TESTED, distribution_version

ENTRY_POINT = "verl_mapo"

ACTOR_WAIT_S = 300
"""Seconds in which a ray actor must have imported verl and answered, which takes it some 20 on two free cores."""


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        where: ``installed``, ``driver`` or ``ray actor``.
        what: the thing that was checked.
        fault: a sentence that says what is wrong; empty when nothing is.
    """

    where: str
    what: str
    fault: str = ""


def versions() -> list[tuple[str, str, tuple[str, ...]]]:
    """(distribution, installed version or "", tested versions) for each of :data:`verl_mapo.versions.TESTED`."""
    return [(name, distribution_version(name), tested) for name, tested in TESTED.items()]


def examine(ray_actor: bool = True) -> list[Finding]:
    """Run all checks. A finding is meaningful only if the findings before it have no fault.

    Args:
        ray_actor: also check inside a new ray actor; this starts a local ray, also where a cluster runs.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # verl warns of each of its engines that is not installed
        registries = _registries("driver")  # first: the check of the entry point imports the plugin itself
        findings = [_entry_point(), _policy(), _symbols(), *registries]
        if ray_actor:
            findings += _registries_in_ray_actor()
    return findings


@contextmanager
def quiet() -> Iterator[list[str]]:
    """Keep what this process and its children write to stdout and stderr inside the ``with`` block.

    Yields:
        A list that holds the lines that were written, once the block has ended.
    """
    lines: list[str] = []
    streams = {stream: os.dup(stream) for stream in (1, 2)}
    with tempfile.TemporaryFile() as file:
        _flush()
        for stream in streams:
            os.dup2(file.fileno(), stream)
        try:
            yield lines
        finally:
            _flush()
            for stream, original in streams.items():
                os.dup2(original, stream)
                os.close(original)
            file.seek(0)
            lines += file.read().decode(errors="replace").splitlines()


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()


def missing_symbols() -> list[str]:
    """The symbols of :data:`VERL_SYMBOLS` that the installed verl does not have.

    Those of the CPU platform are looked up only where ``VERL_PLATFORM=cpu``: elsewhere their modules cannot be imported
    without an accelerator.
    """
    areas = [area for area in VERL_SYMBOLS if area != CPU_PLATFORM or cpu.selected()]
    return [symbol for area in areas for symbol in VERL_SYMBOLS[area] if not has_symbol(symbol)]


def _entry_point() -> Finding:
    what = f"entry point {ENTRY_POINT} in group verl.plugins"
    found = [point for point in metadata.entry_points(group="verl.plugins") if point.name == ENTRY_POINT]
    if not found:
        return Finding("installed", what, "The entry point does not exist: install verl-mapo with pip, next to verl.")
    try:
        found[0].load()
    except Exception as error:
        fault = f"The entry point names {found[0].value}, which cannot be imported: {error!r}."
        return Finding("installed", what, fault)
    return Finding("installed", what)


def _policy() -> Finding:
    policy = os.environ.get("VERL_USE_EXTERNAL_PLUGINS", "auto").strip()
    allowed = {name.strip() for name in policy.lower().split(",")}
    fault = ""
    if not allowed & {"auto", ENTRY_POINT}:
        fault = (
            f"VERL_USE_EXTERNAL_PLUGINS={policy} keeps verl from loading this package: unset the variable, or add "
            f"{ENTRY_POINT} to it."
        )
    return Finding("installed", "VERL_USE_EXTERNAL_PLUGINS", fault)


def _symbols() -> Finding:
    what = "symbols of verl that this package uses"
    missing = missing_symbols()
    if not missing:
        return Finding("installed", what)
    version = distribution_version("verl")
    tested = " or ".join(TESTED["verl"])
    fault = f"verl {version} does not have {', '.join(missing)}: install verl {tested}."
    return Finding("installed", what, fault)


def _registries(where: str) -> list[Finding]:
    """Check that verl's registries in this process hold every name that this package adds."""
    importlib.import_module("verl")
    checks: dict[str, Callable[[], bool]] = {
        f"advantage estimators {', '.join(names.ESTIMATORS)}": _has_estimators,
        f"trainers {', '.join(names.TRAINERS)}": _has_trainers,
        f"engines {', '.join(names.ENGINES)} with visual focus": _has_engines,
        f"agent loop {names.AGENT_LOOP}": _has_agent_loop,
        f"reward manager {names.REWARD_MANAGER}": _has_reward_manager,
        f"platform {cpu.NAME}": _has_platform,
    }
    findings = []
    for what, check in checks.items():
        try:
            fault = "" if check() else "It is not registered: verl did not load the entry point of this package."
        except Exception as error:
            fault = f"The lookup failed: {error!r}."
        findings.append(Finding(where, what, fault))
    return findings


def _has_estimators() -> bool:
    registry = importlib.import_module("verl.trainer.ppo.core_algos").ADV_ESTIMATOR_REGISTRY
    return set(names.ESTIMATORS) <= set(registry)


def _has_trainers() -> bool:
    importlib.import_module("verl.trainer.ppo.v1")  # registers verl's trainers
    registry = importlib.import_module("verl.trainer.ppo.v1.trainer_base").TRAINER_REGISTRY
    return all(registry[name].__name__.startswith("Visual") for name in names.TRAINERS)


def _has_engines() -> bool:
    importlib.import_module("verl.workers.engine.fsdp.transformer_impl")  # registers verl's engines
    engines = importlib.import_module("verl.workers.engine.base").EngineRegistry._engines["language_model"]
    return all(("cuda", "nvidia") in engines[name] for name in names.ENGINES)


def _has_agent_loop() -> bool:
    return names.AGENT_LOOP in importlib.import_module("verl.experimental.agent_loop.agent_loop")._agent_loop_registry


def _has_reward_manager() -> bool:
    registry = importlib.import_module("verl.experimental.reward_loop.reward_manager.registry").REWARD_MANAGER
    return names.REWARD_MANAGER in registry


def _has_platform() -> bool:
    return importlib.import_module("verl.plugin.platform").PlatformRegistry.get(cpu.NAME) is not None


def _registries_in_ray_actor() -> list[Finding]:
    import ray

    try:
        ray.init(
            "local",
            num_cpus=1,
            include_dashboard=False,
            log_to_driver=False,
            ignore_reinit_error=True,
            _system_config={"worker_niceness": 0},  # at ray's own 15, the actor waits for ever beside other work
        )
        return ray.get(ray.remote(num_cpus=1)(_registries).remote("ray actor"), timeout=ACTOR_WAIT_S)
    except GetTimeoutError:
        fault = f"None has answered in {ACTOR_WAIT_S} s: the machine is busy, or ray cannot start processes on it."
    except Exception as error:
        fault = f"None could be started: {reason(error)}"
    finally:
        ray.shutdown()
    return [Finding("ray actor", "a process of ray", fault)]
