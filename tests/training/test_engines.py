# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Every row of the table of engines under every method: composed, and refused or passed as the table says."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import DictConfig, open_dict
from support.scripted import compose_config

from verl_mapo import names
from verl_mapo.settings import ConfigError
from verl_mapo.training import engines
from verl_mapo.training.config_checks import check_config
from verl_mapo.training.engine_table import TABLE, markdown
from verl_mapo.training.engines import (
    check_engines,
    check_heads,
    check_linear_attention,
    check_micro_batches,
    check_packages,
)

ACTOR, ROLLOUT, MODEL = (f"actor_rollout_ref.{node}" for node in ("actor", "rollout", "model"))
SGLANG, TRTLLM = f"{ROLLOUT}.name=sglang", f"{ROLLOUT}.name=trtllm"
LORA, NO_TOWER = f"{MODEL}.lora_rank=8", f"{MODEL}.exclude_modules='.*visual.*'"
SINGLE = [f"{ROLLOUT}.agent.default_agent_loop=single_turn_agent", f"{ROLLOUT}.multi_turn.enable=false"]
SHARED = f"{ACTOR}.ulysses_sequence_parallel_size=2"

RUNS = [
    [],
    [f"{ACTOR}.strategy=fsdp"],
    ["stack=cpu", f"{ACTOR}.strategy=fsdp"],
    [f"{ACTOR}.strategy=fsdp_turbo"],
    ["model_engine=megatron"],
    ["model_engine=megatron", "visual_tool.max_nonfinite_updates=1"],
    ["model_engine=veomni"],
    ["model_engine=torchtitan"],
    ["trainer.device=npu"],
    [SHARED],
    [SHARED, f"{MODEL}.use_remove_padding=false"],
    [f"{ACTOR}.ulysses_sequence_parallel_size=3"],
    [f"{ACTOR}.fsdp_config.fsdp_size=3"],
    [],
    [SGLANG],
    [SGLANG, "visual_tool.seed=1"],
    [SGLANG, "+data.mm_processor_kwargs={min_pixels: 3136, max_pixels: 1003520}"],
    [SGLANG, f"{ROLLOUT}.max_model_len=2048"],
    [TRTLLM, *SINGLE],
    [TRTLLM],
    [f"{ROLLOUT}.name=hf"],
    [f"{ROLLOUT}.tensor_model_parallel_size=2"],
    [f"{ROLLOUT}.tensor_model_parallel_size=3"],
    [LORA, NO_TOWER],
    [LORA],
    [LORA, NO_TOWER, f"{ROLLOUT}.layered_summon=true", f"{ACTOR}.strategy=fsdp", "trainer.n_gpus_per_node=1"],
    [SGLANG, LORA, NO_TOWER],
    [TRTLLM, LORA, NO_TOWER, *SINGLE],
    ["model_engine=veomni", LORA, NO_TOWER],
    ["model_engine=megatron", f"{MODEL}.lora.rank=8"],
]
"""Overrides that make the choice of each row of the table."""


def run_with(*overrides: str) -> DictConfig:
    """A run with these overrides; only groups are composed, which takes a while, and settings are put in."""
    groups = [override for override in overrides if override.partition("=")[0] in ("model_engine", "stack")]
    settings = [override.removeprefix("+") for override in overrides if override not in groups]
    config = compose_config(*groups)
    with open_dict(config):
        config.merge_with_dotlist(settings)
    return config


@pytest.mark.parametrize(("choice", "overrides"), list(zip(TABLE, RUNS, strict=True)), ids=[row.title for row in TABLE])
def test_choice_is_refused_where_the_table_says_so(choice, overrides):
    config = run_with(*overrides)
    for method in names.ESTIMATORS:
        config.algorithm.adv_estimator = method
        assert choice.holds(config)
        verdict = choice.of(method)
        if verdict.state != "refused":
            check_engines(config)
            continue
        with pytest.raises(ConfigError) as error:
            check_engines(config)
        sentence = choice.sentence(config, verdict, method if choice.differs(method) else "")
        assert sentence in str(error.value) and f"{choice.settings[0]}=" in sentence and "Set " in sentence


KL = f"{ACTOR}.use_kl_loss=true"
REF = "actor_rollout_ref.ref"


@pytest.mark.parametrize("setting", ["fsdp_config.fsdp_size", "ulysses_sequence_parallel_size"])
def test_reference_is_shared_by_equal_parts_of_all_gpus_too(setting):
    unequal = f"{REF}.{setting}=3"
    check_engines(run_with(unequal))
    check_engines(run_with(KL, f"{REF}.{setting}=2"))
    check_engines(run_with(KL, LORA, NO_TOWER, unequal))
    with pytest.raises(ConfigError, match=f"{unequal} with .* is refused: .* Set each size to"):
        check_engines(run_with(KL, unequal))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ([f"{MODEL}.lora_adapter_path=/no/such"], "lora_adapter_path=/no/such is refused: it is no folder with an ada"),
        ([f"{MODEL}.lora_adapter_path=org/name"], ""),
        ([f"{MODEL}.lora_adapter_path=hdfs://a/b"], ""),
        ([f"{MODEL}.target_modules=[]"], r"target_modules=\[\] is refused: no module gets an adapter; set it to"),
        ([f"{MODEL}.target_modules=null"], "target_modules=null is refused: no module gets an adapter"),
        ([f"{MODEL}.target_modules=null", f"{MODEL}.target_parameters=[a.weight]"], ""),
        ([f"{MODEL}.target_modules='('"], "target_modules='\\(' is refused: it is no regular expression"),
        ([f"{MODEL}.exclude_modules='('"], "exclude_modules='\\(' is refused: .*; set it to '.*visual.*', or to null"),
        ([f"{MODEL}.target_modules=[q_proj,v_proj]", f"{MODEL}.exclude_modules=null"], ""),
    ],
)
def test_adapters_that_peft_could_not_make_are_refused_at_the_start(overrides, words):
    check_engines(run_with(NO_TOWER, *overrides))
    config = run_with(LORA, NO_TOWER, *overrides)
    if not words:
        return check_engines(config)
    with pytest.raises(ConfigError, match=words):
        check_engines(config)


def test_engine_that_no_strategy_mends_is_refused_before_the_settings_of_the_other():
    with pytest.raises(ConfigError, match="strategy=torchtitan is refused: .* Set model_engine=dp"):
        check_engines(run_with("model_engine=torchtitan", f"+{ACTOR}.fsdp_config.param_offload=true"))


DYNAMIC = [f"{ACTOR}.use_dynamic_bsz=true", f"{ROLLOUT}.log_prob_use_dynamic_bsz=true"]
LENGTHS = ["data.max_prompt_length=1000", "data.max_response_length=3000"]
SHORT = [f"{ACTOR}.ppo_max_token_len_per_gpu=2000"]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (SHORT, "actor.ppo_max_token_len_per_gpu=2000 is refused: .* = 4000 tokens.* set it to 4000"),
        ([*SHORT, f"{ACTOR}.ulysses_sequence_parallel_size=2"], ""),
        ([f"{ACTOR}.ppo_max_token_len_per_gpu=1999", SHARED], "1999 is refused.* set it to 2000 or more"),
        ([f"{ROLLOUT}.log_prob_max_token_len_per_gpu=2000"], "rollout.log_prob_max_token_len_per_gpu=2000 is refused"),
        (["actor_rollout_ref.ref.log_prob_max_token_len_per_gpu=2000"], ""),
        (["actor_rollout_ref.ref.log_prob_max_token_len_per_gpu=9", f"{ACTOR}.use_kl_loss=true"], "ref.log_prob_max"),
        ([KL, f"{REF}.log_prob_max_token_len_per_gpu=2000", f"{REF}.ulysses_sequence_parallel_size=2"], ""),
        ([*SHORT, f"{names.VAL_ONLY}=true"], ""),
        ([*SHORT, f"{ACTOR}.use_dynamic_bsz=false"], "log_prob_use_dynamic_bsz=True are refused.* equal"),
        ([*SHORT, *(each.replace("true", "false") for each in DYNAMIC)], ""),
    ],
)
def test_longest_rollout_fits_the_micro_batches_that_are_cut_by_tokens(overrides, words):
    config = run_with(*DYNAMIC, "actor_rollout_ref.ref.log_prob_use_dynamic_bsz=true", *LENGTHS, *overrides)
    if not words:
        return check_micro_batches(config)
    with pytest.raises(ConfigError, match=words):
        check_micro_batches(config)


def test_table_is_in_the_documentation():
    assert markdown() in (Path(__file__).parents[2] / "docs" / "capabilities.md").read_text()


@pytest.mark.parametrize("engine", ["dp", "megatron", "veomni", "torchtitan"])
def test_every_training_engine_composes_with_a_strategy_of_its_own(engine):
    for overrides in ([], ["stack=cpu"] if engine == "dp" else []):
        config = compose_config(f"model_engine={engine}", *overrides)
        assert config.actor_rollout_ref.actor.strategy == engines.STRATEGIES[engine][0]
        assert config.actor_rollout_ref.ref.strategy == config.actor_rollout_ref.actor.strategy


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (
            [f"{ACTOR}.strategy=megatron"],
            f"{ACTOR}.strategy=megatron is refused with model_engine=dp, whose settings the run has. Set "
            f"model_engine=megatron, or {ACTOR}.strategy=fsdp2 or fsdp or fsdp_turbo.",
        ),
        ([f"{ACTOR}.strategy=automodel"], f"Set {ACTOR}.strategy=fsdp2 or fsdp"),
        (["model_engine=megatron", f"{ACTOR}.strategy=fsdp2"], "is refused with model_engine=megatron"),
        (["model_engine=megatron", "stack=cpu"], "Set model_engine=dp, or"),
        (["actor_rollout_ref.ref.strategy=veomni"], "actor_rollout_ref.ref.strategy=veomni is refused"),
        (
            ["model_engine=megatron", f"+{ACTOR}.fsdp_config.param_offload=true"],
            f"{ACTOR}.fsdp_config has settings of model_engine=dp, but the run has model_engine=megatron: remove them, "
            f"and set {ACTOR}.megatron instead.",
        ),
    ],
)
def test_strategy_of_another_engine_than_the_settings_is_refused(overrides, sentence):
    with pytest.raises(ConfigError) as error:
        check_engines(run_with(*overrides))
    assert sentence in str(error.value)


@pytest.mark.parametrize("overrides", [["model_engine=megatron"], [SGLANG], [LORA, NO_TOWER, f"{MODEL}.lora_alpha=8"]])
def test_engines_that_the_table_allows_pass_every_check(overrides):
    check_config(run_with(*overrides))


def test_engine_whose_package_is_missing_is_refused(monkeypatch):
    assert engines._is_installed("torch.nn") and not engines._is_installed("no_such_package.core")
    monkeypatch.setattr(engines, "_is_installed", lambda module: module != "sglang")
    check_packages(compose_config())
    with pytest.raises(ConfigError, match="name=sglang needs the package sglang, which is not installed: pip install"):
        check_packages(run_with(SGLANG))


def test_critic_without_a_package_that_verl_loads_it_with_is_refused(monkeypatch):
    missing = "trl"
    monkeypatch.setattr(engines, "_is_installed", lambda module: module != missing)
    for run in (["algorithm.adv_estimator=gae"], ["algorithm.adv_estimator=grpo", "critic.enable=true"]):
        with pytest.raises(ConfigError, match=f"{run[0]} .* trains a critic, .* package trl, .*pip install trl; or"):
            check_packages(run_with(*run))
    missing = ""
    check_packages(run_with("algorithm.adv_estimator=gae"))


def test_package_inside_a_missing_package_is_not_installed():
    assert not engines._is_installed("no_such_package.core")


def test_heads_that_gpus_cannot_share_are_refused(tiny_models):
    path = f"{MODEL}.path={tiny_models['qwen2_5_vl'].folder}"
    check_heads(run_with(path))
    for setting in (f"{ROLLOUT}.tensor_model_parallel_size", f"{ACTOR}.ulysses_sequence_parallel_size"):
        check_heads(run_with(path, f"{setting}=2"))
        with pytest.raises(ConfigError, match=f"{setting}=7, but .* attention heads.*: set it to one of 1, 2, "):
            check_heads(run_with(path, f"{setting}=7"))


def test_linear_attention_without_its_package_is_refused_on_shared_sequences_and_slow_on_gpus(
    tiny_models, monkeypatch, caplog
):
    hybrid, softmax = (tiny_models[family].processor.config for family in ("qwen3_5", "qwen3_vl"))
    monkeypatch.setattr(engines, "_is_installed", lambda module: module != "fla")
    check_linear_attention(run_with(SHARED), softmax)
    with pytest.raises(ConfigError, match=f"{SHARED}, but .* linear attention.*: pip install flash-linear-attention"):
        check_linear_attention(run_with(SHARED), hybrid)
    for gpu in (False, True):
        monkeypatch.setattr(engines.torch.cuda, "is_available", lambda gpu=gpu: gpu)
        check_linear_attention(run_with(), hybrid)
        assert ("row by row, which is slow: pip install flash-linear-attention" in caplog.text) is gpu
    monkeypatch.setattr(engines, "_is_installed", lambda module: True)
    check_linear_attention(run_with(SHARED), hybrid)
    with pytest.raises(ConfigError, match=f"{ROLLOUT}.dtype=float32, but .* in bfloat16 alone: set it to bfloat16"):
        check_linear_attention(run_with("stack=cpu"), hybrid)
    check_linear_attention(run_with("stack=cpu", f"{ROLLOUT}.dtype=bfloat16"), hybrid)
