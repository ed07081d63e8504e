# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""LoRA on the tiny families: where adapters go, and what verl hands to the rollout engine."""

from __future__ import annotations

import json

import pytest
import torch
from support.passes import add_adapters, shard, tiny_engine
from support.scripted import compose_config
from torch import distributed
from verl.utils.fsdp_utils import collect_lora_params
from vllm.lora.utils import parse_fine_tuned_lora_name
from vllm.model_executor.models.qwen2_5_vl import Qwen2_5_VLForConditionalGeneration
from vllm.model_executor.models.qwen3_5 import Qwen3_5ForConditionalGeneration
from vllm.model_executor.models.qwen3_vl import Qwen3VLForConditionalGeneration

from verl_mapo.training.lora import adapts_vision_tower

MODEL = "actor_rollout_ref.model"
IN_VLLM = {
    "qwen2_5_vl": Qwen2_5_VLForConditionalGeneration,
    "qwen3_vl": Qwen3VLForConditionalGeneration,
    "qwen3_5": Qwen3_5ForConditionalGeneration,
}


@pytest.fixture
def engine(model, monkeypatch):
    return tiny_engine(model.folder, monkeypatch)


@pytest.fixture
def group(tmp_path):
    """A process group of one."""
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.parametrize(
    ("target", "excluded"),
    [
        ("all-linear", None),
        ("all-linear", ".*visual.*"),
        ("all-linear", "visual"),
        ("all-linear", r"model\.visual\.blocks.*"),
        ("all-linear", [*"qkv proj linear_fc1 linear_fc2 mlp.0 mlp.2".split()]),
        (["q_proj", "v_proj"], None),
        (["q_proj", "gate_proj"], None),
        (r".*language_model.*\.(q|k|v|o)_proj", None),
    ],
)
def test_adapters_in_the_vision_tower_are_known_before_the_model_is_loaded(model, engine, target, excluded):
    """Qwen2.5-VL and Qwen3-VL name their modules differently; the check covers both, so it may be the stricter one."""
    config = compose_config(f"{MODEL}.lora_rank=4")
    config.actor_rollout_ref.model.target_modules, config.actor_rollout_ref.model.exclude_modules = target, excluded
    add_adapters(engine, target, excluded)
    adapted = any("lora_" in name and ".visual." in name for name, _ in engine.module.named_parameters())
    assert adapts_vision_tower(config) >= adapted
    if target == "all-linear" and isinstance(excluded, str | None):
        assert adapts_vision_tower(config) == adapted


def test_adapter_of_an_earlier_run_has_its_own_modules(tmp_path):
    config = compose_config(f"{MODEL}.lora_rank=4", f"{MODEL}.lora_adapter_path={tmp_path}")
    assert not adapts_vision_tower(config)
    for modules, expected in ((["q_proj"], False), (["q_proj", "qkv"], True)):
        (tmp_path / "adapter_config.json").write_text(json.dumps({"target_modules": modules, "exclude_modules": None}))
        assert adapts_vision_tower(config) is expected


@pytest.mark.parametrize("model", IN_VLLM, indirect=True)
def test_vllm_finds_a_module_of_its_language_model_for_every_adapter(model, engine, group):
    add_adapters(engine, excluded=".*visual.*")
    trained = [name for name, weight in engine.module.named_parameters() if weight.requires_grad]
    shard(engine, "fsdp2", adapters=True)
    one, other = (collect_lora_params(engine.module, layered, True) for layered in (False, True))
    assert len(one) == len(trained) and all("lora_" in name for name in trained)
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    mapper = IN_VLLM[model.model_type].hf_to_vllm_mapper
    for name in one:
        module, _ = parse_fine_tuned_lora_name(name, mapper)
        assert module.startswith("language_model.model.layers."), name
