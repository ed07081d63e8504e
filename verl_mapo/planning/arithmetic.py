# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The formulas of a plan, as functions of numbers. docs/performance.md states them; sizes are in bytes.

A GB is 10^9 bytes.
"""

from __future__ import annotations

GB = 10**9

FLOAT32, BFLOAT16, INT64 = 4, 2, 8
ADAM = 8
"""Bytes of AdamW's two float32 moments of a parameter."""

ENGINE_RESERVE = 6 * GB
"""Memory that vLLM keeps on a GPU beside weights and KV cache: activations of a prefill, CUDA graphs [ours]."""

PROCESS = 1_400_000_000
"""Host memory of a process that has imported torch and verl; measured for agent-loop workers."""

ONCE = 7_400_000_000
"""Host memory of the processes that a run has once, without its data, as measured on an H100's host: TransferQueue's
controller and eight storage units (3.6 GB), trainer and data loaders, launcher and driver, load balancer, a scorer."""

VLLM_IMAGE_CACHE = 4
"""GiB of processed images that an engine keeps, unless it is told otherwise."""

DECODED = 4
"""Bytes of a pixel of a decoded image: Pillow keeps RGB in four."""

OBJECT_STORE_SHARE = 0.3
"""Share of a node's memory that Ray takes for its object store, unless it is told otherwise."""

LARGEST_OBJECT_STORE = 200 * GB
"""Ray's upper limit of the same."""


def pinned(elements: int) -> int:
    """Elements for which PyTorch allocates pinned host memory for a tensor of so many: the next power of two.

    Measured with PyTorch 2.11 on an H100: 50 tensors of 90 MB took 6.7 GB, and kept them after they were freed.
    """
    return 1 << max(elements - 1, 0).bit_length()


def feature_bytes(tokens: float, values: int, width: int) -> float:
    """Pixel values of images, as the model reads them.

    Args:
        tokens: number of image tokens.
        values: pixel values of an image token, 4704 for Qwen2.5-VL, 6144 for Qwen3-VL and Qwen3.5.
        width: bytes of a value.
    """
    return tokens * values * width


def token_bytes(tokens: float, response: float, trained: bool = True) -> float:
    """The columns of rows with a value or more for each token, in TransferQueue.

    Of a token of the sequence: its id, twice; four position ids. Of a token of the response also: two masks, the
    rollout's log-prob, the reward. After the log-prob pass and the advantage also: the log-prob of each token of the
    sequence, and the old log-prob, the entropy, the advantage and the return of each of the response.

    Args:
        tokens: number of tokens of prompts and responses.
        response: number of tokens of responses.
        trained: whether the passes before the update have run, after which a row is largest.
    """
    ids, positions, masks = 2 * INT64, 4 * INT64, 2 * INT64
    rolled_out = tokens * (ids + positions) + response * (masks + 2 * FLOAT32)
    return rolled_out + trained * (tokens + 4 * response) * FLOAT32


def kv_bytes(layers: int, heads: int, head_size: int, width: int = BFLOAT16) -> int:
    """Keys and values of one token in all layers that keep them."""
    return 2 * layers * heads * head_size * width


def kv_tokens(gpu: float, share: float, parallel: int, weights: float, token: int) -> int:
    """Number of tokens in the KV cache of an engine; 0 if not even the weights fit.

    Args:
        gpu: memory of a GPU.
        share: ``gpu_memory_utilization``.
        parallel: GPUs of an engine.
        weights: of the model, in the engine.
        token: see :func:`kv_bytes`.
    """
    return max(0, int((parallel * (gpu * share - ENGINE_RESERVE) - weights) // token))


def share_for_kv(gpu: float, parallel: int, weights: float, token: int, tokens: float) -> float:
    """The ``gpu_memory_utilization`` with which :func:`kv_tokens` is ``tokens``."""
    return ((tokens * token + weights) / parallel + ENGINE_RESERVE) / gpu


def kv_of_one_look(prompt: float, group: int, observation: float) -> float:
    """KV tokens of a rollout that has looked once: its share of the prompt, and the first observation.

    The rollouts of a prompt share its keys and values (``enable_prefix_caching``).
    """
    return prompt / group + observation


def update_bytes(parameters: int, trained: int, gpus: int, tokens: int, layers: int, hidden: int, vocab: int) -> float:
    """The least memory of a GPU in an update with FSDP and gradient checkpointing.

    It holds its share of the float32 weights, and of gradients and moments of what is trained; the input of every layer
    in bfloat16; the logits in bfloat16, and their gradient.

    Args:
        parameters: of the model.
        trained: of these, the number of those that are trained.
        gpus: over which FSDP shards.
        tokens: of a micro-batch on a GPU.
        layers, hidden: layers of the language model, and their width.
        vocab: number of logits; 0 for fused kernels, which make none.
    """
    states = (parameters * FLOAT32 + trained * (FLOAT32 + ADAM)) / gpus
    return states + tokens * layers * hidden * BFLOAT16 + 2 * tokens * vocab * BFLOAT16


def checkpoint_bytes(parameters: int, trained: int, contents: list[str], copies: int = 1) -> int:
    """One checkpoint of verl: float32 weights, moments of what is trained, bfloat16 weights for transformers.

    Every process writes its part of the first two, so that they are there once for each copy of the model.
    """
    states = {"model": parameters * FLOAT32 * copies, "optimizer": trained * ADAM * copies}
    parts = states | {"hf_model": parameters * BFLOAT16}
    return sum(size for name, size in parts.items() if name in contents)


def number_of_saves(steps: int, frequency: int) -> int:
    """Checkpoints of a run: every ``frequency`` steps and after the last one, or none if it is not positive."""
    return -(-steps // frequency) if frequency > 0 else 0


def object_store(memory: float) -> float:
    """Size of Ray's object store on a node with so much memory."""
    return min(OBJECT_STORE_SHARE * memory, LARGEST_OBJECT_STORE)
