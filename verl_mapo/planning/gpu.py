# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The lines of a plan about GPUs."""

from __future__ import annotations

from collections.abc import Iterator

from verl_mapo.planning import arithmetic as sums
from verl_mapo.planning.data_facts import TEXT_TOKENS
from verl_mapo.planning.rows import OBSERVATION_TEXT
from verl_mapo.planning.run import Line, PlannedRun, counted, fails_if, size

LARGEST_SHARE = 0.9
"""Largest ``gpu_memory_utilization`` that is recommended [ours]: beside it, CUDA and NCCL have memory of their own."""

_SHARE = "actor_rollout_ref.rollout.gpu_memory_utilization"
_KV = "KV cache of an engine"


def kv_tokens(run: PlannedRun) -> int:
    """Number of tokens in the KV cache of an engine."""
    rollout, token, weights = run.config.actor_rollout_ref.rollout, kv_token(run), engine_weights(run)
    parallel = rollout.tensor_model_parallel_size
    return sums.kv_tokens(run.place.gpu, rollout.gpu_memory_utilization, parallel, weights, token)


def kv_token(run: PlannedRun) -> int:
    """Bytes of a token in the KV cache of an engine."""
    parallel, shape = run.config.actor_rollout_ref.rollout.tensor_model_parallel_size, run.shape
    return sums.kv_bytes(shape.layers - shape.linear_layers, max(shape.kv_heads, parallel), shape.head_size)


def engine_weights(run: PlannedRun) -> int:
    """Bytes of the weights in an engine."""
    return run.shape.parameters * sums.BFLOAT16


def generating(run: PlannedRun) -> tuple[float, float]:
    """Bytes of vLLM, and of what FSDP leaves beside it, on a GPU that generates."""
    fsdp = run.config.actor_rollout_ref.actor.fsdp_config
    weights = 0 if fsdp.param_offload else run.shape.parameters * sums.FLOAT32
    moments = 0 if fsdp.optimizer_offload else run.trained * sums.ADAM
    engine = 0 if run.separate else run.config.actor_rollout_ref.rollout.gpu_memory_utilization * run.place.gpu
    return engine, (weights + moments) / run.shards + reference(run)


def reference(run: PlannedRun) -> float:
    """Bytes of the reference model's weights that stay on a GPU."""
    stays = run.reference and not run.config.actor_rollout_ref.ref.fsdp_config.param_offload
    return stays * run.shape.parameters * sums.FLOAT32 / run.shards


def in_update(run: PlannedRun) -> float:
    """The least bytes of a GPU in an update."""
    shape, tokens = run.shape, run.micro_batch // run.ulysses
    vocab = 0 if run.config.actor_rollout_ref.model.get("use_fused_kernels") else shape.vocab
    least = sums.update_bytes(shape.parameters, run.trained, run.shards, tokens, shape.layers, shape.hidden, vocab)
    return least + reference(run)


def gpu_lines(run: PlannedRun) -> Iterator[Line]:
    """Number of GPUs, KV cache, and memory while generating and in an update."""
    needed, found, nodes = run.config.trainer.n_gpus_per_node, run.place.gpus, run.nodes
    needs = f"{counted(nodes, 'node')} with {needed} of {size(run.place.gpu)}"
    words = ""
    if found is not None and found < needed:
        words = f"Ray waits for the missing GPUs for ever: set trainer.n_gpus_per_node={found}."
    yield Line("GPU", "GPUs", needs, *(() if found is None else (f"{found} here", fails_if(words), words)))
    yield _kv_cache(run)
    yield _generating(run)
    yield _update(run)


def _kv_cache(run: PlannedRun) -> Line:
    rollout, tokens = run.config.actor_rollout_ref.rollout, kv_tokens(run)
    longest = rollout.max_model_len or run.config.data.max_prompt_length + run.config.data.max_response_length
    at_once = max(1, min(-(-run.rollouts // run.engines), rollout.max_num_seqs or run.rollouts))
    observation = run.crops.tokens[1] + OBSERVATION_TEXT if run.looks else 0
    group = run.group if rollout.enable_prefix_caching else 1
    state = run.shape.state / kv_token(run)  # of linear attention, in tokens
    look = sums.kv_of_one_look(run.image_tokens + TEXT_TOKENS, group, observation) + state
    longest += round(state)
    needed = max(longest, at_once * look)
    needs = f"{look:,.0f} tokens for each of {at_once} rollouts, {longest:,} for the longest"
    has = f"{tokens // at_once:,} for each, {tokens:,} in all"
    if tokens >= needed:
        return Line("GPU", _KV, needs, has, "ok")
    parallel, weights = rollout.tensor_model_parallel_size, engine_weights(run)
    share = -(-sums.share_for_kv(run.place.gpu, parallel, weights, kv_token(run), needed) * 20 // 1) / 20
    remedy = f"Set {_SHARE}={share:g}"
    if share > LARGEST_SHARE:
        remedy = "Use a smaller model, larger GPUs or a larger tensor_model_parallel_size"
    if tokens >= longest:
        words = f"Rollouts wait before they have seen a crop, or are computed twice. {remedy}, or a smaller batch."
        return Line("GPU", _KV, needs, has, "warns", words)
    fault = "the longest rollout does not fit" if tokens else "not even the weights fit"
    return Line("GPU", _KV, needs, has, "fails", f"vLLM does not start, because {fault}. {remedy}.")


def _generating(run: PlannedRun) -> Line:
    engine, beside = generating(run)
    words = ""
    if beside + engine > run.place.gpu:
        words = (
            f"vLLM finds too little free memory. Set fsdp_config.param_offload and optimizer_offload, or less {_SHARE}."
        )
    needs = f"{size(engine)} of vLLM + {size(beside)} of FSDP"
    return Line("GPU", "while generating", needs, size(run.place.gpu), fails_if(words), words)


def _update(run: PlannedRun) -> Line:
    needed = in_update(run)
    words = ""
    if needed > run.place.gpu:
        words = (
            "CUDA runs out of memory. Use more GPUs, a smaller model or micro-batch, LoRA "
            "(actor_rollout_ref.model.lora_rank), or actor_rollout_ref.model.use_fused_kernels=true."
        )
    needs = f"at least {size(needed)}, with {run.micro_batch // run.ulysses:,} tokens at once"
    return Line("GPU", "in an update", needs, size(run.place.gpu), fails_if(words), words)
