# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""What is refused before Ray starts, with a real tokenizer and real files."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from support.scripted import compose_config

from verl_mapo import machine, names
from verl_mapo.settings import ConfigError
from verl_mapo.training.start_checks import check_start, data_files

FOLDER = Path(__file__).parent

ROW = {
    "prompt": [{"role": "user", "content": "<image>What is it?"}],
    "images": ["one.png"],
    "reward_model": {"style": "exact", "ground_truth": "A"},
    "data_source": "toy",
}


@pytest.fixture
def run(tmp_path, tiny_models):
    """The configuration of a run on a parquet file with one row, changed by overrides and by keys of the row."""

    def make(*overrides: str, **keys):
        for name in ("train", "test"):
            Dataset.from_list([ROW | keys]).to_parquet(tmp_path / f"{name}.parquet")
        files = [f"data.train_files={tmp_path}/train.parquet", f"data.val_files=[{tmp_path}/test.parquet]"]
        model = f"actor_rollout_ref.model.path={tiny_models['qwen2_5_vl'].folder}"
        limits = [
            "visual_tool.max_image_pixels=200704",
            "visual_tool.max_crop_pixels=50176",
            "visual_tool.tools=[zoom]",
            "data.train_batch_size=1",
        ]
        images = "+actor_rollout_ref.rollout.engine_kwargs.vllm.limit_mm_per_prompt={image: 8, video: 0}"
        return compose_config(*files, model, *limits, images, *overrides)

    return make


def test_file_that_is_not_set_is_asked_for_wherever_the_data_are_read(run):
    with pytest.raises(
        ConfigError, match="^data.train_files must be set, for example data.train_files=train.parquet.$"
    ):
        data_files(run("data.train_files=null"), names.TRAIN_FILES)


def test_right_run_passes(run):
    check_start(run())


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["algorithm.mapo.beta=-1"], "algorithm.mapo.beta=-1 is refused"),
        (["trainer.logger=[wandbb]"], "asks for 'wandbb'"),
        (["data.train_batch_size=2"], "train_batch_size=2, but there are 1 rows to train on"),
        (["data.train_files=no/such.parquet"], "data.train_files=no/such.parquet does not exist on this machine"),
        (["data.val_files='~/data/rlhf/gsm8k/test.parquet'"], "verl's default, does not exist on this machine"),
        (["data.train_files='~nobody_here/a.parquet'"], "=~nobody_here/a.parquet does not exist on this machine"),
        (["data.val_files=[no/such.json]"], "data.val_files=no/such.json does not exist on this machine"),
        (["data.val_files=no/folder"], "data.val_files=no/folder does not exist on this machine"),
        ([f"data.val_files={FOLDER}"], f"is a folder: give a file, such as {FOLDER}/train.parquet."),
        ([f"data.val_files={__file__}"], "is refused: verl reads .parquet"),
        (["data.train_files=null"], "data.train_files must be set"),
        (["data.val_files=[]"], "data.val_files=[] names no file: give one, for example data.val_files=test.parquet."),
        (["data.train_files=file://no/such.parquet"], "data.train_files=no/such.parquet does not exist"),
        (["data.custom_cls.path=nope.py"], "data.custom_cls.path=nope.py does not exist on this machine"),
        (["reward.custom_reward_function.path=nope.py"], "path=nope.py does not exist on this machine"),
        (
            ["reward.custom_reward_function.path=pkg://verl_mapo.rewards.compute_scores"],
            "no module verl_mapo.rewards.compute_scores; give one that it has, such as pkg://verl_mapo.rewards.compute",
        ),
        (["data.train_files=???"], "data.train_files must be set"),
        (
            ["actor_rollout_ref.model.path=no/such/model"],
            "actor_rollout_ref.model.path=no/such/model gives no tokenizer",
        ),
        (["data.max_response_length=40"], "visual_tool"),
    ],
)
def test_mistake_is_refused_in_words(run, overrides, sentence):
    with pytest.raises(ConfigError) as error:
        check_start(run(*overrides))
    assert sentence in str(error.value)


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"reward_model": {"style": "rule", "ground_truth": "A"}}, "reward_model.style is 'rule'"),
        ({"images": []}, "1 x <image>"),
        ({"agent_name": "visual_agent"}, "is no agent loop"),
    ],
)
def test_row_is_refused_in_words(run, keys, sentence):
    with pytest.raises(ConfigError) as error:
        check_start(run(**keys))
    assert sentence in str(error.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [("train.parquet", b"PAR1 cut short"), ("train.parquet", b""), ("train.jsonl", b""), ("train.jsonl", b"{broken")],
)
def test_file_that_cannot_be_read_is_refused_in_words(run, tmp_path, name, content):
    config = run()
    (tmp_path / name).write_bytes(content)
    config.data.train_files = str(tmp_path / name)
    with pytest.raises(
        ConfigError, match=f"data.train_files or data.val_files=.*{name} cannot be read .*: give a whole"
    ):
        check_start(config)


@pytest.mark.parametrize("name", ["train.json", "none.parquet", "link.parquet"])
def test_file_without_rows_is_refused_in_words(run, tmp_path, name):
    config = run()
    (tmp_path / "train.json").write_text("[]")
    Dataset.from_list([ROW]).select([]).to_parquet(tmp_path / "none.parquet")
    (tmp_path / "link.parquet").symlink_to("nowhere")
    config.data.train_files = str(tmp_path / name)
    with pytest.raises(ConfigError, match=f"data.train_files.*{name} (cannot be read .it has no rows|does not exist)"):
        check_start(config)


def test_rows_on_another_machine_are_named_in_a_warning(run, caplog, tmp_path):
    check_start(run("data.train_files=s3://there/train.parquet", f"data.val_files=file://{tmp_path}/test.parquet"))
    [found] = [record.message for record in caplog.records if "s3://" in record.message]
    assert "data.train_files=['s3://there/train.parquet'] are not on this machine" in found


def test_model_folder_without_architectures_is_named(run, tmp_path, tiny_models):
    folder = shutil.copytree(tiny_models["qwen2_5_vl"].folder, tmp_path / "model")
    file = folder / "config.json"
    file.write_text(json.dumps({k: v for k, v in json.loads(file.read_text()).items() if k != "architectures"}))
    with pytest.raises(ConfigError, match="cannot be loaded: `architectures` in its config.json is None"):
        check_start(run(f"actor_rollout_ref.model.path={folder}"))


def test_run_without_this_package_is_left_to_verl(run):
    stock = ["algorithm.adv_estimator=grpo", "reward.reward_manager.name=naive", "trainer.logger=[wandbb]"]
    check_start(run(*stock, "actor_rollout_ref.rollout.agent.default_agent_loop=single_turn_agent"))


def test_missing_flash_attn_is_refused_where_there_is_a_gpu(run, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    found = importlib.util.find_spec
    monkeypatch.setattr(
        machine.importlib.util, "find_spec", lambda name: None if name in ("flash_attn", "kernels") else found(name)
    )
    with pytest.raises(ConfigError, match="needs flash_attn, which is not installed: pip install --no-build-isolation"):
        check_start(run())
    check_start(run("+actor_rollout_ref.model.override_config.attn_implementation=sdpa"))
