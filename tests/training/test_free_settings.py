# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Settings that verl hands on to another library as they are, right ones and wrong ones."""

from __future__ import annotations

import copy
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf
from support.scripted import compose_config

from verl_mapo.settings import ConfigError
from verl_mapo.training.config_checks import _own_nodes
from verl_mapo.training.free_settings import (
    _given_by_verl,
    check_free_settings,
    check_model_settings,
    vllm_arguments,
)
from verl_mapo.training.unknown_settings import unknown_settings

ROLLOUT, MODEL, ACTOR = (f"actor_rollout_ref.{part}" for part in ("rollout", "model", "actor"))
VLLM = f"{ROLLOUT}.engine_kwargs.vllm"
OPTIMIZER = f"{ACTOR}.optim.override_optimizer_config"
PRECISION = f"{ACTOR}.fsdp_config.mixed_precision"
OVERRIDE = f"{MODEL}.override_config"
PIXELS, TEMPLATE = "data.mm_processor_kwargs", "data.apply_chat_template_kwargs"


@cache
def base() -> DictConfig:
    config = compose_config("stack=cpu")
    OmegaConf.set_struct(config, False)
    return config


def with_setting(path: str, value: Any = 1) -> DictConfig:
    config = copy.deepcopy(base())
    OmegaConf.update(config, path, value, force_add=True)
    return config


def check(model: SimpleNamespace, path: str, value: Any = 1) -> None:
    config = with_setting(path, value)
    config.actor_rollout_ref.model.path = str(model.folder)
    check_free_settings(config)
    check_model_settings(config, model.tokenizer, model.processor)


WRONG = [
    (f"{PIXELS}.maxpixels", f"{PIXELS}.max_pixels"),
    (f"{PIXELS}.min_pixel", f"{PIXELS}.min_pixels"),
    (f"{PIXELS}.images_kwargs.maxpixels", f"{PIXELS}.images_kwargs.max_pixels"),
    (f"{PIXELS}.do_resise", f"{PIXELS}.do_resize"),
    (f"{PIXELS}.image_kwargs", f"{PIXELS}.images_kwargs"),
    (f"{VLLM}.mm_processor_kwargs.maxPixels", f"{VLLM}.mm_processor_kwargs.max_pixels"),
    (f"{OVERRIDE}.attn_implementaton", f"{OVERRIDE}.attn_implementation"),
    (f"{OVERRIDE}.tie_word_embedding", f"{OVERRIDE}.tie_word_embeddings"),
    (f"{OVERRIDE}.attention_dropout", f"{OVERRIDE}.text_config.attention_dropout"),
    (f"{OVERRIDE}.text_config.attn_dropout", f"{OVERRIDE}.text_config.attention_dropout"),
    (f"{OVERRIDE}.vision_confg.depth", f"{OVERRIDE}.vision_config"),
    (f"{OVERRIDE}.model_config.tie_word_embedding", f"{OVERRIDE}.model_config.tie_word_embeddings"),
    (f"{VLLM}.gpu_memory_utilisation", f"{ROLLOUT}.gpu_memory_utilization"),
    (f"{VLLM}.limit_mm_per_promp", f"{VLLM}.limit_mm_per_prompt"),
    (f"{VLLM}.limit_mm_per_prompt.image.counts", f"{VLLM}.limit_mm_per_prompt.image.count"),
    (f"{VLLM}.limit_mm_per_prompt.images", f"{VLLM}.limit_mm_per_prompt.image"),
    (f"{VLLM}.max_num_sequences", f"{ROLLOUT}.max_num_seqs"),
    (f"{VLLM}.mm_processor_kwarg", f"{VLLM}.mm_processor_kwargs"),
    ("reward.reward_model.rollout.engine_kwargs.vllm.sed", "reward.reward_model.rollout.seed"),
    (f"{OPTIMIZER}.amsgrd", f"{OPTIMIZER}.amsgrad"),
    ("critic.optim.override_optimizer_config.fuse", "critic.optim.override_optimizer_config.fused"),
    (f"{PRECISION}.param_dtyp", f"{PRECISION}.param_dtype"),
    (f"{PRECISION}.buffer_type", f"{PRECISION}.buffer_dtype"),
    ("ray_kwargs.ray_init.adress", "ray_kwargs.ray_init.address"),
    ("ray_kwargs.ray_init.runtime_env.env_var", "ray_kwargs.ray_init.runtime_env.env_vars"),
    ("ray_kwargs.ray_init.runtime_env.workingdir", "ray_kwargs.ray_init.runtime_env.working_dir"),
]


def refused(config: DictConfig, model: SimpleNamespace) -> list[str]:
    """The sentences of both checks."""
    config.actor_rollout_ref.model.path = str(model.folder)
    with pytest.raises(ConfigError) as at_start:
        check_free_settings(config)
    with pytest.raises(ConfigError) as of_model:
        check_model_settings(config, model.tokenizer, model.processor)
    return [f"{sentence}?" for error in (at_start, of_model) for sentence in str(error.value)[:-1].split("? ")]


@pytest.mark.parametrize("value", [7, False, None], ids=repr)
def test_misspelt_free_settings_are_refused_with_the_right_ones(tiny_models, value):
    config = copy.deepcopy(base())
    for path, _ in WRONG:
        OmegaConf.update(config, path, value, force_add=True)
    found = {sentence.partition("=")[0]: sentence for sentence in refused(config, tiny_models["qwen2_5_vl"])}
    assert len(found) == len(WRONG)
    for path, right in WRONG:
        named, given = (path.removesuffix(".depth"), {"depth": value}) if path.endswith(".depth") else (path, value)
        assert found[named].startswith(f"{named}={given!r} is n") and found[named].endswith(f"; did you mean {right}?")


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        (f"{TEMPLATE}.enable_thinking", "is not read by the model's chat template; remove it."),
        (f"{PIXELS}.zzqx", r"is no argument of the model's Qwen2_5_VLProcessor; remove it\."),
        (f"{VLLM}.zzqx", r"is no argument of vLLM \d.*; remove it\."),
        (f"{OVERRIDE}.zzqx", "is no attribute of the model's Qwen2_5_VLConfig; remove it"),
        (f"{PRECISION}.zzqx", "is not read by verl; set .*param_dtype or .*reduce_dtype or .*buffer_dtype"),
    ],
)
def test_free_setting_like_no_other_is_refused_with_what_to_do(tiny_models, path, sentence):
    with pytest.raises(ConfigError, match=f"{path}=1 {sentence}"):
        check(tiny_models["qwen2_5_vl"], path)


TAKEN = [
    *(f"{PIXELS}.{name}" for name in ("max_pixels", "min_pixels", "size", "do_resize", "fps", "return_tensors")),
    *(f"{PIXELS}.{name}" for name in ("images_kwargs.max_pixels", "videos_kwargs.fps", "common_kwargs.any")),
    f"{VLLM}.mm_processor_kwargs.max_pixels",
    *(f"{TEMPLATE}.{name}" for name in ("tools", "documents", "add_vision_id")),
    *(f"{OVERRIDE}.{name}" for name in ("attn_implementation", "tie_word_embeddings", "dtype", "pad_token_id")),
    *(f"{OVERRIDE}.{name}" for name in ("text_config.attention_dropout", "vision_config.depth")),
    f"{OVERRIDE}.model_config.text_config.use_cache",
    *(f"{VLLM}.{name}" for name in ("max-loras", "no_async_scheduling", "headless", "max_log_len")),
    *(f"{VLLM}.limit_mm_per_prompt.{medium}" for medium in ("image.count", "video", "audio")),
    f"{VLLM}.hf_overrides.any",
    f"{ROLLOUT}.engine_kwargs.sglang.any",
    f"{OPTIMIZER}.eps",
    *(f"{PRECISION}.{name}" for name in ("param_dtype", "reduce_dtype", "buffer_dtype")),
    *(f"ray_kwargs.ray_init.{name}" for name in ("_temp_dir", "_system_config", "dashboard_port", "namespace")),
    *(f"ray_kwargs.ray_init.runtime_env.{name}" for name in ("env_vars.ANY", "py_executable", "working_dir")),
    "reward.custom_reward_function.reward_kwargs.any",
]


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
def test_free_settings_that_their_receivers_take_are_kept(tiny_models, family):
    model, config = copy.copy(tiny_models[family]), copy.deepcopy(base())
    model.processor = copy.copy(model.processor)
    model.processor.chat_template = "{% if add_vision_id %}Picture:{% endif %}"
    config.actor_rollout_ref.model.path = str(model.folder)
    for path in TAKEN:
        OmegaConf.update(config, path, 1, force_add=True)
    assert check_free_settings(config) is None
    assert check_model_settings(config, model.tokenizer, model.processor) is None


@pytest.mark.parametrize(
    ("name", "value"), [("min_pixels", 4), ("size", {"shortest_edge": 4, "longest_edge": 9}), ("do_resize", False)]
)
def test_sizes_of_images_that_vllm_alone_would_get_are_refused(tiny_models, name, value):
    model, config = tiny_models["qwen2_5_vl"], with_setting(f"{VLLM}.mm_processor_kwargs", {name: value})
    sentence = rf"{VLLM}.mm_processor_kwargs.{name}=.* is refused: .*, and set {PIXELS}.{name}, which vLLM gets, too"
    for trainer in (None, {"min_pixels": 5}):
        OmegaConf.update(config, PIXELS, trainer, force_add=True)
        with pytest.raises(ConfigError, match=sentence):
            check_model_settings(config, model.tokenizer, model.processor)
    OmegaConf.update(config, PIXELS, {name: value}, force_add=True)
    assert check_model_settings(config, model.tokenizer, model.processor) is None


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("max_model_len", f"{ROLLOUT}.max_model_len"),
        ("gpu-memory-utilization", f"{ROLLOUT}.gpu_memory_utilization"),
        ("no_enable_prefix_caching", f"{ROLLOUT}.enable_prefix_caching"),
        ("tensor_parallel_size", f"{ROLLOUT}.tensor_model_parallel_size"),
        ("model", f"{MODEL}.path"),
    ],
)
def test_argument_of_vllm_that_verl_gives_is_refused_with_the_setting_to_use(name, setting):
    with pytest.raises(ConfigError, match=rf"{VLLM}\.{name}=1 is refused: set {setting}, which verl hands on"):
        check_free_settings(with_setting(f"{VLLM}.{name}"))
    assert check_free_settings(with_setting(f"{VLLM}.{name}", None)) is None, "verl leaves null out"


@pytest.mark.parametrize("rollout", [ROLLOUT, "reward.reward_model.rollout"])
def test_settings_that_verl_hands_on_to_vllm_are_there(rollout):
    given = _given_by_verl(f"{rollout}.engine_kwargs.vllm")
    assert given.keys() <= vllm_arguments()
    config = base()
    for path in given.values():
        OmegaConf.update(config := copy.deepcopy(config), path, 1, force_add=True)
    assert not [setting.path for setting in unknown_settings(config, _own_nodes(config))]


def test_receiver_that_takes_anything_or_is_not_known_is_not_asked(tiny_models):
    model = copy.copy(tiny_models["qwen2_5_vl"])
    model.processor = SimpleNamespace(chat_template=None)
    assert check(model, PIXELS, {"anything": 1}) is None and check(model, TEMPLATE, {"anything": 1}) is None
    model.processor = None
    assert check(model, PIXELS, {"anything": 1}) is None
    assert check_free_settings(with_setting(OVERRIDE, {"anything": 1})) is None, "no model is there"
    for optimizer in ("MyOptimizer", "SGD"):
        config = with_setting(OPTIMIZER, {"momentum": 0.9})
        config.actor_rollout_ref.actor.optim.optimizer = optimizer
        assert check_free_settings(config) is None


def test_all_wrong_settings_are_named_at_once(tiny_models):
    with pytest.raises(ConfigError) as error:
        check(tiny_models["qwen3_vl"], PIXELS, {"maxpixels": 9, "minpixels": 3, "max_pixels": 9})
    assert str(error.value).count("did you mean") == 2


def misspellings(name: str) -> list[str]:
    """The name with one of its characters left out, doubled, or exchanged for another."""
    places = [(name[:place], name[place], name[place + 1 :]) for place in range(len(name))]
    wrong = [before + other + after for before, letter, after in places for other in ("", letter * 2, "q")]
    return [*dict.fromkeys(wrong)]


def sentence_of(node: str, wrong: str, right: str) -> str:
    return f"{node}.{wrong}=9 is no argument of the model's Qwen3VLProcessor; did you mean {node}.{right}"


def test_every_misspelling_of_a_name_that_users_know_is_refused_with_that_name(tiny_models):
    model = tiny_models["qwen3_vl"]
    for path in (f"{PIXELS}.max_pixels", f"{PIXELS}.min_pixels", f"{VLLM}.mm_processor_kwargs.max_pixels"):
        node, _, name = path.rpartition(".")
        wrong = misspellings(name)
        with pytest.raises(ConfigError) as error:
            check_model_settings(with_setting(node, dict.fromkeys(wrong, 9)), model.tokenizer, model.processor)
        found = str(error.value).split("? ")
        assert len(found) == len(wrong) > 20
        for other, sentence in zip(wrong, found, strict=True):
            assert sentence.removesuffix("?") == sentence_of(node, other, name)


def test_arguments_of_vllm_are_those_of_its_parser():
    from vllm.entrypoints.openai.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    options = {
        option.removeprefix("--").replace("-", "_")
        for action in make_arg_parser(FlexibleArgumentParser())._actions
        for option in action.option_strings
        if option.startswith("--") and not option.startswith("--no-")
    }
    assert len(options) > 150 and options <= vllm_arguments()
