# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from verl_mapo.coldstart.settings import check_rows_fit, check_sft, max_length
from verl_mapo.settings import ConfigError


def test_the_defaults_pass(sft_config):
    config = sft_config()
    check_sft(config)
    assert max_length(config) == 4096 + 8192


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["data.ignore_input_ids_mismatch=true"], "delete every thought"),
        (["data.max_length=1024"], "verl's default, is less than .*set data.max_length=12288 or more"),
        (["data.pad_mode=right"], "Set data.pad_mode=no_padding"),
        (["data.truncation=left"], "has fewer image tokens than images"),
        (["data.messages_key=chat"], "a row's columns are prompt, images and turns"),
        (["data.enable_thinking_default=true"], "apply_chat_template_kwargs.enable_thinking"),
        (["trainer.seed=2"], "does not read it"),
        (["trainer.n_gpus_per_node=8", "data.train_batch_size=12"], "set it to 16"),
        (["data.use_dynamic_bsz=false", "data.micro_batch_size_per_gpu=5"], "set it to a divisor"),
        (["trainer.test_freq=5"], "needs data.val_files"),
        (["engine.strategy=fsdp"], "joins frozen and trained parameters"),
        (["engine.ulysses_sequence_parallel_size=2"], "does not divide the 1 ranks"),
        (["sft.max_left_out=2"], "sft.max_left_out"),
        (["visual_tool.tools=[fly]"], "visual_tool.tools"),
    ],
)
def test_a_setting_that_would_fail_or_do_nothing_is_named(sft_config, overrides, words):
    with pytest.raises(ConfigError, match=words):
        check_sft(sft_config(*overrides))


def test_rows_have_to_fill_a_batch_and_fit_into_a_micro_batch(sft_config):
    config = sft_config("data.train_batch_size=2", "data.max_token_len_per_gpu=100")
    check_rows_fit(config, [100, 20])
    with pytest.raises(ConfigError, match="there are 1 rows to train on.*set it to 1 or less"):
        check_rows_fit(config, [20])
    with pytest.raises(ConfigError, match="the longest row, which has 101 tokens: set it to 101"):
        check_rows_fit(config, [101, 20])


@pytest.mark.parametrize(
    "override",
    [
        "data.train_batch_size=null",
        "data.max_prompt_length=abc",
        "data.max_response_length=-5",
        "data.max_length=0",
        "trainer.n_gpus_per_node=0",
        "trainer.total_epochs=0",
        "engine.ulysses_sequence_parallel_size=0",
        "data.max_token_len_per_gpu=null",
        "data.micro_batch_size_per_gpu=0",
    ],
)
def test_number_that_is_no_whole_number_from_1_on_is_refused(sft_config, override):
    config = sft_config(override, f"data.use_dynamic_bsz={str('micro' not in override).lower()}")
    with pytest.raises(ConfigError, match=f"{override} is refused: it is a whole number from 1 on, such as"):
        check_sft(config)


@pytest.mark.parametrize("override", ["engine.freeze_vision_tower=maybe", "data.use_dynamic_bsz=maybe"])
def test_switch_that_is_neither_on_nor_off_is_refused(sft_config, override):
    with pytest.raises(ConfigError, match=f"{override} is refused: it is true or false"):
        check_sft(sft_config(override))


def test_mark_that_names_no_step_is_refused_with_a_sentence(sft_config, tmp_path):
    (tmp_path / "latest_checkpointed_iteration.txt").write_text("no step")
    with pytest.raises(ConfigError, match="names no step: remove it, or set trainer.resume_mode=disable"):
        check_sft(sft_config(f"trainer.default_local_dir={tmp_path}"))
