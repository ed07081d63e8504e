# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""verl on a machine without accelerator: FSDP2 with gloo, vLLM's CPU build, and a logical GPU in ray.

Only ``VERL_PLATFORM=cpu`` selects this platform; otherwise :func:`register` adds a name to verl's table of platforms
and changes nothing else. verl 0.9.1 has no hooks for some of the changes that a CPU needs, so ten functions below
patch verl, vLLM or importlib; the docstring of each says what fails or waits without it. All but one are applied when
the module that they patch is imported, so that registration itself imports nothing. They reach every process of a run,
vLLM's engine process included, because every process imports verl and verl imports its plugins.
"""

import functools
import importlib.metadata
import os
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import wrapt

NAME = "cpu"


def environment() -> dict[str, str]:
    """The environment variables of a CPU run. Variables that the user has set take precedence over them."""
    return {
        "VERL_PLATFORM": NAME,
        # vLLM would otherwise pin the threads of every process to the same cores.
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": "1",
        # torch.compile does not make a small model faster, and adds about 12 seconds to the start of vLLM.
        "TORCHDYNAMO_DISABLE": "1",
        # Where flash-attn is installed, verl would otherwise use its cross entropy, which needs a GPU.
        "VERL_DISABLE_FLASH_ATTN_CE": "1",
        # ray would otherwise change CUDA_VISIBLE_DEVICES in actors that ask for no GPU.
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        # ray would otherwise run its workers at nice 15: beside other work, a run would hardly go on.
        "RAY_worker_niceness": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def selected() -> bool:
    """Whether the environment variable ``VERL_PLATFORM`` selects this platform."""
    return os.environ.get("VERL_PLATFORM", "").strip().lower() == NAME


def register() -> None:
    """Add the platform to verl's table and, where it is selected, arrange for the patches.

    A second call does nothing.
    """
    # Not at the top of the module: importing verl imports this module through the plugin's entry point.
    from verl.plugin.platform import PlatformRegistry

    from verl_mapo.platforms.cpu_device import CPUPlatform

    if PlatformRegistry.get(NAME) is CPUPlatform:
        return
    PlatformRegistry.register(platform=NAME)(CPUPlatform)
    if not selected():
        return
    _find_vllm_cpu_distribution()
    wrapt.register_post_import_hook(_use_gloo_once, "verl.utils.distributed")
    wrapt.register_post_import_hook(_register_engines, "verl.workers.engine.fsdp.transformer_impl")
    wrapt.register_post_import_hook(_offload_without_pinning, "verl.workers.engine.fsdp.transformer_impl")
    wrapt.register_post_import_hook(_compute_few_logits_at_once, "verl.utils.experimental.torch_functional")
    wrapt.register_post_import_hook(_poll_often, "verl.trainer.ppo.v1.replay_buffer")
    wrapt.register_post_import_hook(_keep_linear_weights, "vllm.model_executor.layers.utils")
    wrapt.register_post_import_hook(_keep_seeds_of_split_prompts, "vllm.v1.worker.gpu_model_runner")
    wrapt.register_post_import_hook(_obey_seeds_beside_others, "vllm.v1.sample.ops.topk_topp_sampler")
    wrapt.register_post_import_hook(
        _separate_weight_sockets, "verl.workers.rollout.vllm_rollout.bucketed_weight_transfer"
    )


def _register_engines(transformer_impl: ModuleType) -> None:
    """Register verl's FSDP2 engines for the CPU: verl registers them for cuda and npu only. FSDP1 needs a GPU."""
    register_engine = transformer_impl.EngineRegistry.register
    register_engine("language_model", "fsdp2", device="cpu")(transformer_impl.FSDPEngineWithLMHead)
    register_engine("value_model", "fsdp2", device="cpu")(transformer_impl.FSDPEngineWithValueHead)


def _use_gloo_once(distributed: ModuleType) -> None:
    """Use the backend "cpu:gloo": verl joins the backends of CPU and device, and torch rejects "cpu:gloo,cpu:gloo".

    verl has one function for workers of ray and one for the processes of torchrun, which train SFT.
    """
    initialize = distributed.initialize_global_process_group_ray = functools.partial(
        distributed.initialize_global_process_group_ray, backend="cpu:gloo"
    )

    def initialize_of_torchrun(timeout_second: int = 36000) -> tuple[int, int, int]:
        initialize(timeout_second)
        return tuple(int(os.environ[name]) for name in ("LOCAL_RANK", "RANK", "WORLD_SIZE"))

    distributed.initialize_global_process_group = initialize_of_torchrun


def _find_vllm_cpu_distribution() -> None:
    """Report the version of "vllm-cpu", vLLM's CPU build, as that of "vllm": verl stops if "vllm" has no version."""
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
    """Keep the weights of vLLM's CPU linear layers, which are deleted after packing: without them the first weight sync
    fails and verl hangs.
    """
    dispatch = layers_utils.dispatch_cpu_unquantized_gemm

    @functools.wraps(dispatch)
    def dispatch_and_keep(layer: Any, remove_weight: bool) -> None:
        dispatch(layer, remove_weight=False)

    layers_utils.dispatch_cpu_unquantized_gemm = dispatch_and_keep


def _keep_seeds_of_split_prompts(gpu_model_runner: ModuleType) -> None:
    """Draw nothing from a request's seed while its prompt is computed in parts.

    vLLM samples a token after each part, discards it, and sets the offset of the request's generator back. The
    generator of a CPU has no offset: the engine would stop with "CPU Generator does not use offset". Here its state is
    restored.
    """
    sample = gpu_model_runner.GPUModelRunner._sample
    keep_books = gpu_model_runner.GPUModelRunner._bookkeeping_sync

    def rows_of_parts(self: Any) -> list[int]:
        return [row for row in self.input_batch.generators if self.discard_request_mask.np[row]]

    @functools.wraps(sample)
    def sample_and_restore(self: Any, *args: Any, **kwargs: Any) -> Any:
        generators = [self.input_batch.generators[row] for row in rows_of_parts(self)]
        states = [generator.get_state() for generator in generators]
        sampled = sample(self, *args, **kwargs)
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)
        return sampled

    @functools.wraps(keep_books)
    def keep_books_without_them(self: Any, *args: Any, **kwargs: Any) -> Any:
        generators = self.input_batch.generators
        restored = {row: generators.pop(row) for row in rows_of_parts(self)}
        try:
            return keep_books(self, *args, **kwargs)
        finally:
            generators.update(restored)

    gpu_model_runner.GPUModelRunner._sample = sample_and_restore
    gpu_model_runner.GPUModelRunner._bookkeeping_sync = keep_books_without_them


def _obey_seeds_beside_others(topk_topp_sampler: ModuleType) -> None:
    """Sample with the seeds of requests beside requests without one: on a CPU, vLLM then ignores all seeds."""
    sample_without_seeds = topk_topp_sampler.TopKTopPSampler.forward_cpu
    sample_with_seeds = topk_topp_sampler.TopKTopPSampler.forward_native

    @functools.wraps(sample_without_seeds)
    def sample(self: Any, logits: Any, generators: dict[int, Any], k: Any, p: Any) -> Any:
        return (sample_with_seeds if generators else sample_without_seeds)(self, logits, generators, k, p)

    topk_topp_sampler.TopKTopPSampler.forward_cpu = sample


def _compute_few_logits_at_once(torch_functional: ModuleType) -> None:
    """Compute fused log-probs for 32 tokens at once, and their gradient only for the tokens that have one.

    Without this patch, a rehearsal takes several times as long. verl takes 512 tokens at once: with the vocabulary of a
    released model, each result is 300 MB, which fits into no cache and which the system provides anew every time. Its
    backward pass computes the logits of all tokens again, while only those of a response have a gradient.
    """
    fused = torch_functional.FusedLinearForPPO
    fused.__init__ = functools.partialmethod(fused.__init__, chunk_size=32)
    function = torch_functional.FusedLinearForPPOFunction
    function.backward = staticmethod(_for_tokens_with_gradient(function.backward))


def _for_tokens_with_gradient(backward: Callable[..., tuple]) -> Callable[..., tuple]:
    @functools.wraps(backward)
    def of_some(context: Any, *gradients: Any) -> tuple:
        import torch

        hidden, vocabulary, ids = context.saved_tensors  # (tokens, D), (V, D), (tokens,)
        given = [each for each in gradients if each is not None]  # of log-probs and entropies, in the shape of the ids
        some = torch.stack([each.flatten() != 0 for each in given]).any(dim=0).nonzero().squeeze(1)
        of_tokens = SimpleNamespace(
            saved_tensors=(hidden[some].requires_grad_(hidden.requires_grad), vocabulary, ids[some]),
            orig_batch_size=-1,
            orig_ndim=2,
            temperature=context.temperature,
            chunk_size=context.chunk_size,
        )
        kept = (each if each is None else each.flatten()[some] for each in gradients)
        of_hidden, *others = backward(of_tokens, *kept)
        if of_hidden is not None:
            of_hidden = torch.zeros_like(hidden).index_copy_(0, some, of_hidden).view(*given[0].shape, hidden.shape[-1])
        return of_hidden, *others

    return of_some


def _poll_often(replay_buffer: ModuleType) -> None:
    """Look for finished rollouts every 0.1 s instead of every 2 s: a step of a tiny model takes only a few seconds."""
    buffer = replay_buffer.ReplayBuffer
    buffer.__init__ = functools.partialmethod(buffer.__init__, poll_interval=0.1)


def _offload_without_pinning(transformer_impl: ModuleType) -> None:
    """Offload the reference policy to unpinned memory: verl pins it, which needs the driver of an accelerator."""
    policy = transformer_impl.CPUOffloadPolicy
    transformer_impl.CPUOffloadPolicy = lambda pin_memory: policy(pin_memory=False)


def _separate_weight_sockets(transfer: ModuleType) -> None:
    """Add the process session's id to the name of the socket through which weights reach vLLM.

    verl names the socket in /tmp after ray's job id, which is 01000000 in every local cluster: two runs on one machine
    would receive each other's weights. The launcher starts each run as a session (:mod:`verl_mapo.launcher`), so
    sender and receiver of one run have the same session id.
    """
    for end in (transfer.BucketedWeightSender, transfer.BucketedWeightReceiver):
        end.__init__ = _with_session_socket(end.__init__)


def _with_session_socket(init: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(init)
    def init_with_session_socket(self: Any, zmq_handle: str, *args: Any, **kwargs: Any) -> None:
        init(self, f"{zmq_handle}-session-{os.getsid(0)}", *args, **kwargs)

    return init_with_session_socket
