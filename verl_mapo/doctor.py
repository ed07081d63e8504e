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
"""Is this package at work inside verl? Looked up where it matters: in this process, and in a fresh ray actor.

verl swallows what goes wrong while it imports a plugin, so nothing but a look at its registries tells. This module must
not import ``verl_mapo.registration`` itself: verl has to, through the entry point.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata

ENTRY_POINT = "verl_mapo"

TESTED = {
    "verl": ("0.9.1",),
    "torch": ("2.11.0",),
    "transformers": ("5.9.0",),
    "vllm": ("0.24.0",),
    "ray": ("2.60.0",),
    "tensordict": ("0.10.0",),
}
"""The versions this package was tested with."""

VERL_SYMBOLS = (
    "verl.experimental.agent_loop.agent_loop.AgentLoopBase.ct_build_initial_tokens",
    "verl.experimental.agent_loop.agent_loop.AgentLoopBase.ct_merge_context_msg",
    "verl.experimental.agent_loop.agent_loop.AgentLoopMetrics",
    "verl.experimental.agent_loop.agent_loop.AgentLoopOutput.as_dict",
    "verl.experimental.agent_loop.agent_loop._agent_loop_registry",
    "verl.experimental.reward_loop.reward_manager.base.RewardManagerBase",
    "verl.trainer.ppo.core_algos.ADV_ESTIMATOR_REGISTRY",
    "verl.trainer.ppo.v1.agent_loop_tq.AgentLoopManagerTQ._init_agent_loop_workers",
    "verl.trainer.ppo.v1.agent_loop_tq.AgentLoopWorkerTQ.__ray_metadata__.modified_class._run_prompt",
    "verl.trainer.ppo.v1.agent_loop_tq.AgentLoopWorkerTQ.__ray_metadata__.modified_class._run_agent_loop",
    "verl.trainer.ppo.v1.agent_loop_tq.AgentLoopWorkerTQ.__ray_metadata__.modified_class._agent_loop_postprocess",
    "verl.trainer.ppo.v1.trainer_base.TRAINER_REGISTRY",
    "verl.trainer.ppo.v1.trainer_base.PPOTrainer._init_tokenizer",
    "verl.trainer.ppo.v1.trainer_base.PPOTrainer._init_dataloader",
    "verl.trainer.ppo.v1.trainer_base.PPOTrainer._compute_advantage",
    "verl.trainer.ppo.v1.trainer_base.PPOTrainer._compute_old_log_prob",
    "verl.trainer.ppo.v1.trainer_base.PPOTrainer._balance_batch",
    "verl.trainer.ppo.v1.trainer_base.PPOTrainer._get_required_batch_multiple",
    "verl.trainer.ppo.v1.trainer_base.PPOTrainer._update_actor",
    "verl.trainer.ppo.v1.trainer_base.PPOTrainer._log_rollout_data",
    "verl.utils.tokenizer.continuous_token.ContinuousTokenBuilder.align_response_metadata",
    "verl.utils.tokenizer.continuous_token.ContinuousTokenBuilder.merge_assistant_tokens",
    "verl.workers.engine.base.EngineRegistry._engines",
    "verl.workers.engine.fsdp.transformer_impl.FSDPEngineWithLMHead.forward_step",
    "verl.workers.engine.fsdp.transformer_impl.FSDPEngineWithLMHead._gather_and_unpad_packed",
    "verl.workers.rollout.replica.TokenOutput",
    "verl.workers.utils.padding.response_from_nested",
    "verl.workers.utils.padding.response_to_nested",
)
"""Every symbol of verl that this package uses and that is not public interface."""


@dataclass(frozen=True)
class Finding:
    """One thing looked at.

    Attributes:
        where: ``installed``, ``driver`` or ``ray actor``.
        what: the thing.
        fault: a sentence; empty when all is well.
    """

    where: str
    what: str
    fault: str = ""


def versions() -> list[tuple[str, str, tuple[str, ...]]]:
    """(distribution, version found or "", versions tested) for each of :data:`TESTED`."""
    return [(name, distribution_version(name), tested) for name, tested in TESTED.items()]


def examine(ray_actor: bool = True) -> list[Finding]:
    """Everything there is to look at, in the order in which it has to work."""
    findings = [_entry_point(), _policy(), *_probe("driver")]
    if ray_actor:
        findings += _probe_ray_actor()
    return findings


def missing_symbols() -> list[str]:
    """The entries of :data:`VERL_SYMBOLS` that this verl does not have."""
    return [path for path in VERL_SYMBOLS if not _resolves(path)]


def distribution_version(name: str) -> str:
    """The installed version of a distribution or of its CPU build; empty when neither is there."""
    for distribution in (name, f"{name}-cpu"):
        try:
            return metadata.distribution(distribution).version
        except metadata.PackageNotFoundError:
            continue
    return ""


def _entry_point() -> Finding:
    what = "entry point verl_mapo in group verl.plugins"
    found = [point for point in metadata.entry_points(group="verl.plugins") if point.name == ENTRY_POINT]
    if not found:
        return Finding("installed", what, "It is not there: install this package beside verl with pip.")
    try:
        found[0].load()
    except Exception as error:
        return Finding("installed", what, f"It names {found[0].value}, which cannot be imported: {error!r}.")
    return Finding("installed", what)


def _policy() -> Finding:
    policy = os.environ.get("VERL_USE_EXTERNAL_PLUGINS", "auto").strip()
    names = {name.strip() for name in policy.lower().split(",")}
    fault = ""
    if not names & {"auto", ENTRY_POINT}:
        fault = f"VERL_USE_EXTERNAL_PLUGINS={policy} keeps verl from loading this package: unset it, or add verl_mapo."
    return Finding("installed", "VERL_USE_EXTERNAL_PLUGINS", fault)


def _probe(where: str) -> list[Finding]:
    """What verl's registries hold in this process."""
    importlib.import_module("verl")
    looks: dict[str, Callable[[], bool]] = {
        "advantage estimators mapo, axpo, vgpo": lambda: (
            {"mapo", "axpo", "vgpo"} <= {*importlib.import_module("verl.trainer.ppo.core_algos").ADV_ESTIMATOR_REGISTRY}
        ),
        "trainers sync, colocate_async, separate_async": lambda: all(
            cls.__name__.startswith("Visual")
            for name, cls in importlib.import_module("verl.trainer.ppo.v1").trainer_base.TRAINER_REGISTRY.items()
            if name in ("sync", "colocate_async", "separate_async")
        ),
        "agent loop visual_tool_agent": lambda: (
            "visual_tool_agent"
            in importlib.import_module("verl.experimental.agent_loop.agent_loop")._agent_loop_registry
        ),
        "reward manager description_alignment": lambda: (
            "description_alignment"
            in importlib.import_module("verl.experimental.reward_loop.reward_manager").registry.REWARD_MANAGER
        ),
        "engine fsdp2 with visual focus": lambda: (
            ("cuda", "nvidia")
            in importlib.import_module("verl.workers.engine.base").EngineRegistry._engines["language_model"]["fsdp2"]
        ),
        "platform cpu": lambda: importlib.import_module("verl.plugin.platform").PlatformRegistry.get("cpu") is not None,
    }
    findings = []
    for what, look in looks.items():
        try:
            fault = "" if look() else "verl does not know it: verl did not load this package's entry point."
        except Exception as error:
            fault = f"It could not be looked up: {error!r}."
        findings.append(Finding(where, what, fault))
    return findings


def _probe_ray_actor() -> list[Finding]:
    import ray

    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, ignore_reinit_error=True)
    try:
        return ray.get(ray.remote(num_cpus=1)(_probe).remote("ray actor"), timeout=300)
    finally:
        ray.shutdown()


def _resolves(path: str) -> bool:
    """Whether a dotted path leads somewhere: the longest importable module, then attributes."""
    parts = path.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        return all(hasattr(found, part) and (found := getattr(found, part)) is not None for part in parts[cut:])
    return False
