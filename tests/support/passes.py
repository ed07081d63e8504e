# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Log-prob passes through verl's own engine around a tiny model on the CPU, alone or as one of several ranks."""

from __future__ import annotations

from inspect import signature
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tensordict import NonTensorStack, TensorDict
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel as FSDP
from torch.distributed.fsdp import MixedPrecisionPolicy
from transformers import AutoModelForImageTextToText
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from verl.models.transformers.monkey_patch import apply_monkey_patch, patch_vlm_for_ulysses_input_slicing
from verl.utils import tensordict_utils as tu
from verl.utils.fsdp_utils import apply_fsdp2, get_fsdp_wrap_policy
from verl.utils.ulysses import (
    gather_outputs_and_unpad,
    set_ulysses_sequence_parallel_group,
    slice_input_tensor,
)
from verl.workers.engine.fsdp import transformer_impl

from support.scripted import compose_config, play, prompt_of
from verl_mapo.training.method_engine import FOCUS, MethodEngine

ZOOM = '<tool_call>{"name": "zoom", "arguments": {"label": "a square", "bbox_2d": [0, 0, 90, 90]}}</tool_call>'


def tiny_engine(folder: Any, patch: pytest.MonkeyPatch) -> MethodEngine:
    """verl's engine around a tiny model, in the parts that a forward pass touches."""
    patch.setattr(transformer_impl, "get_device_id", lambda: "cpu")
    patch.setattr(transformer_impl, "get_device_name", lambda: "cpu")
    engine = MethodEngine.__new__(MethodEngine)
    engine.module = AutoModelForImageTextToText.from_pretrained(folder, attn_implementation="sdpa").eval()
    engine.pad_to_length = engine.use_ulysses_sp = False
    engine.pad_to_length_bucket = 64
    engine.ulysses_sequence_parallel_size = 1
    engine._autocast_dtype = torch.float32
    engine.engine_config = SimpleNamespace(entropy_checkpointing=False, entropy_from_logits_with_chunking=False)
    return engine


def add_adapters(engine: MethodEngine, target: Any = "all-linear", excluded: Any = None) -> None:
    """verl's own LoRA adapters of rank 4, in eval mode."""
    engine.model_config = SimpleNamespace(
        lora_rank=4, lora_alpha=8, target_modules=target, target_parameters=None, exclude_modules=excluded
    )
    engine.module = engine._build_lora_module(engine.module).eval()


def shard(engine: MethodEngine, strategy: str, adapters: bool) -> None:
    """verl's own wrapping of layers, over a process group of one."""
    if strategy == "fsdp":
        policy = get_fsdp_wrap_policy(engine.module, is_lora=adapters)
        engine.module = FSDP(engine.module, auto_wrap_policy=policy, device_id=torch.device("cpu"))
        return
    full = {
        "mesh": init_device_mesh("cpu", (1,)),
        "mp_policy": MixedPrecisionPolicy(param_dtype=torch.float32, reduce_dtype=torch.float32),
        "offload_policy": None,
        "reshard_after_forward": True,
    }
    apply_fsdp2(engine.module, full, {})


def rows_of(module: nn.Module, model: Any, picture: str) -> list[dict]:
    """Rollouts with two images, with one and with three, of different lengths, as verl's worker lays them out."""
    long, short = "<answer>a long answer that it gives</answer>", "<answer>b</answer>"
    rows = []
    for turns in ([ZOOM, long], [short], [ZOOM, ZOOM, short]):
        output = play(model, compose_config(), prompt_of(picture), turns)
        ids = torch.tensor(output.prompt_ids + output.response_ids)
        pixels = dict(model.processor.image_processor(images=output.multi_modal_data["images"], return_tensors="pt"))
        kinds = (ids == model.processor.image_token_id).int()[None]
        vision, _ = module.model.get_rope_index(
            ids[None], image_grid_thw=pixels["image_grid_thw"], mm_token_type_ids=kinds
        )
        place = torch.cat([torch.arange(len(ids))[None], vision.squeeze(1)])
        mask = torch.tensor(output.response_mask)
        rows.append({"input_ids": ids, "position_ids": place, "response_mask": mask, "multi_modal_inputs": pixels})
    return rows


def log_prob_pass(engine: MethodEngine, rows: list[dict], request: dict | None, **asked: Any) -> dict[str, Tensor]:
    """One micro-batch through verl's own forward step, padded unless ``use_remove_padding`` is asked for."""
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    pixels = NonTensorStack(*columns.pop("multi_modal_inputs"))
    joined = {
        name: tu.nested_tensor_from_tensor_list(values) if values[0].ndim else torch.stack(values)
        for name, values in columns.items()
    }
    data = TensorDict({**joined, "multi_modal_inputs": pixels}, batch_size=len(rows))
    tu.assign_non_tensor(data, **{"temperature": 1.0, "use_remove_padding": False, "calculate_entropy": False} | asked)
    if request is not None:
        tu.assign_non_tensor(data, **{FOCUS: request})
    with torch.no_grad():
        return engine.forward_step(data, None, forward_only=True)[1]["model_output"]


def use_verl_forward(engine: MethodEngine, patch: pytest.MonkeyPatch, fused_kernels: str | None = None) -> None:
    """verl's own forward functions instead of transformers', as in a real run; what it replaces ``patch`` puts back.

    Its attention for packed rows needs flash-attn. Here transformers' own takes its place: it finds the rows in the
    position ids too, and keeps them apart with a mask.
    """
    for kind in {type(part) for part in engine.module.modules()}:
        patch.setattr(kind, "forward", kind.forward)
        if hasattr(kind, "fast_pos_embed_interpolate"):
            patch.setattr(kind, "fast_pos_embed_interpolate", kind.fast_pos_embed_interpolate)
    apply_monkey_patch(
        engine.module,
        use_remove_padding=False,
        use_fused_kernels=fused_kernels is not None,
        fused_kernels_backend=fused_kernels,
    )
    engine.pass_packed_cu_seqlens = "cu_seqlens" in signature(engine.module.forward).parameters


def verl_engine(folder: Any, patch: pytest.MonkeyPatch) -> MethodEngine:
    """:func:`tiny_engine` with verl's own forward functions."""
    engine = tiny_engine(folder, patch)
    use_verl_forward(engine, patch)
    return engine


def passes_of_a_rank(
    rank: int, ranks: int, folder: str, rows: list[dict], requests: list[dict], buckets: list[int], out: str
) -> None:
    """One rank of Ulysses sequence parallelism, to be spawned: saves what it gets for each request and bucket.

    Padding, slices and gathers are verl's. gloo has no all-to-all, so :func:`sharded_attention` moves the states.
    """
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{out}/rendezvous", rank=rank, world_size=ranks)
    set_ulysses_sequence_parallel_group(distributed.group.WORLD)
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        engine = tiny_engine(folder, patch)
        engine.use_ulysses_sp, engine.ulysses_sequence_parallel_size = True, ranks
        use_verl_forward(engine, patch)
        decoder = engine.module.get_decoder()
        patch_vlm_for_ulysses_input_slicing(type(decoder))
        ALL_ATTENTION_FUNCTIONS.register("sharded", sharded_attention)
        decoder.config._attn_implementation = "sharded"
        for bucket in buckets:
            engine.pad_to_length, engine.pad_to_length_bucket = bucket > 1, bucket
            found[bucket] = [log_prob_pass(engine, rows, request, use_remove_padding=True) for request in requests]
    torch.save(found, f"{out}/rank-{rank}.pt")
    distributed.destroy_process_group()


def sharded_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, _: None, *, position_ids: Tensor, scaling: float, **__
) -> tuple[Tensor, None]:
    """Causal attention within packed rows, each rank holding (1, heads, N / ranks, dim) of the states."""
    query, key, value = (gather_outputs_and_unpad(part, gather_dim=2) for part in (query, key, value))
    row = (gather_outputs_and_unpad(position_ids, gather_dim=1) == 0).cumsum(dim=1)
    within = (row[:, :, None] == row[:, None, :]).tril().unsqueeze(1)
    output = nn.functional.scaled_dot_product_attention(query, key, value, within, scale=scaling, enable_gqa=True)
    return slice_input_tensor(output.transpose(1, 2), dim=1, padding=False), None
