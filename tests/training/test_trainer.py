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
"""The seams of all three trainers, without starting any: which class a run gets, and what it overrides."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transfer_queue as tq
from scripted import compose_config
from tensordict import NonTensorStack, TensorDict
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.core_algos import get_adv_estimator_fn
from verl.trainer.ppo.v1 import (
    PPOTrainer,
    PPOTrainerColocateAsync,
    PPOTrainerSeparateAsync,
    PPOTrainerSync,
    get_trainer_cls,
)

from verl_mapo.advantages.visual_credit import VisualCreditSettings
from verl_mapo.columns import TURN_COLUMNS
from verl_mapo.rollout.trajectory import Trajectory, Turn
from verl_mapo.settings import ConfigError
from verl_mapo.training.focus_engine import FOCUS
from verl_mapo.training.step_batch import carried, carrying
from verl_mapo.training.trainer import VisualTrainer, extend_all

MODES = {
    "sync": PPOTrainerSync,
    "colocate_async": PPOTrainerColocateAsync,
    "separate_async": PPOTrainerSeparateAsync,
}


@pytest.mark.parametrize("mode", MODES)
def test_the_one_flag_takes_the_same_seams_in_every_mode(mode, monkeypatch):
    monkeypatch.setattr(PPOTrainer, "__init__", lambda self, config: setattr(self, "config", config))
    monkeypatch.setattr(MODES[mode], "__init__", lambda self, config: PPOTrainer.__init__(self, config))
    trainer = get_trainer_cls(mode)(config=compose_config(f"trainer.v1.trainer_mode={mode}"))
    assert isinstance(trainer, VisualTrainer) and isinstance(trainer, MODES[mode])
    for method in ("_compute_advantage", "_validate", "_log_rollout_data", "_init_tokenizer", "_init_dataloader"):
        assert getattr(type(trainer), method) is getattr(VisualTrainer, method), f"{MODES[mode].__name__} overrides it"


@pytest.mark.parametrize("mode", MODES)
def test_a_stock_run_gets_verls_own_class(mode, monkeypatch):
    monkeypatch.setattr(MODES[mode], "__init__", lambda self, config: None)
    config = compose_config(
        "algorithm.adv_estimator=grpo",
        "actor_rollout_ref.rollout.agent.default_agent_loop=tool_agent",
        "reward.reward_manager.name=naive",
    )
    assert type(get_trainer_cls(mode)(config=config)) is MODES[mode]


def test_extending_twice_changes_nothing():
    before = [get_trainer_cls(mode) for mode in MODES]
    extend_all()
    assert [get_trainer_cls(mode) for mode in MODES] == before


def test_mapo_without_columns_names_the_two_settings():
    estimator = get_adv_estimator_fn("mapo")
    with pytest.raises(ConfigError, match="default_agent_loop=visual_tool_agent and reward.reward_manager.name=descri"):
        estimator(
            token_level_rewards=torch.zeros(2, 3), response_mask=torch.ones(2, 3), index=np.array(["a", "a"]), config={}
        )
    with carrying({"turn_scores": torch.zeros(2, 4)}), pytest.raises(ConfigError, match="carry none"):
        carried(TURN_COLUMNS, "these carry none")


LENGTHS = [5, 3, 4, 6]


def jagged(rows):
    return torch.nested.as_nested_tensor(rows, layout=torch.jagged)


def rows(config, scores):
    """Four rollouts of two prompts and one padding row, as TransferQueue gives them back."""
    values = {"uid": ["a", "a", "b", "b", "pad"]}
    lengths = [*LENGTHS, 1]
    masks = [torch.ones(length, dtype=torch.int64) for length in LENGTHS] + [torch.zeros(1, dtype=torch.int64)]
    rewards = [torch.zeros(length) for length in lengths]
    for reward, outcome in zip(rewards, [1.0, 0.0, 1.0, 1.0, 0.0], strict=True):
        reward[-1] = outcome
    columns = []
    extra = []
    for length, score in zip(lengths, scores, strict=True):
        turn = Turn(
            (0, length), "x", status="ok", tool="zoom", described=True, score=score, box_executed=(0, 0, 5, 5), image=0
        )
        trajectory = Trajectory(["p.png"], [(10, 10)], [turn], "answer")
        columns.append(trajectory.columns(3))
        extra.append({"trajectory": trajectory.record(), "reward_extra_info": {}})
    nested = {"response_mask": jagged(masks), "rm_scores": jagged(rewards)}
    nested["old_log_probs"] = jagged([torch.zeros(length) for length in lengths])
    stacked = {name: torch.stack([column[name] for column in columns]) for name in columns[0]}
    prompts = [[{"role": "user", "content": "q"}]] * 5
    objects = {
        "uid": NonTensorStack(*values["uid"]),
        "extra_fields": NonTensorStack(*extra),
        "raw_prompt": prompts,
        "reward_model": NonTensorStack(*[{"ground_truth": "x"}] * 5),
        "data_source": NonTensorStack(*["s"] * 5),
    }
    return {**nested, **stacked, **objects}


@pytest.fixture
def queue(monkeypatch):
    """TransferQueue's two calls over a dictionary."""
    store: dict = {}

    def get(keys, partition_id, select_fields):
        found = {name: store[name] for name in select_fields if name in store}
        raw = {name: found.pop(name) for name in list(found) if isinstance(found[name], list)}
        data = TensorDict(found, batch_size=len(keys))
        for name, value in raw.items():
            data.set_non_tensor(name, value)
        return data

    def put(keys, partition_id, fields):
        store.update({name: fields[name] for name in fields.keys()})
        return KVBatchMeta(partition_id=partition_id, keys=keys, tags=store["tags"])

    monkeypatch.setattr(tq, "kv_batch_get", get)
    monkeypatch.setattr(tq, "kv_batch_put", put)
    return store


def trainer_of(config):
    trainer = VisualTrainer.__new__(type("T", (VisualTrainer,), {"on_step_end": None, "on_sample_end": None}))
    trainer.config, trainer.global_steps, trainer.records = config, 7, []
    trainer.mapo, trainer.axpo = SimpleNamespace(max_unscored=0.5), None
    trainer.credit, trainer.tokenizer = None, None
    return trainer


def step(queue, scores, *overrides, credit=None, tokenizer=None):
    config = compose_config(*overrides)
    keys = ["a_0_0", "a_1_0", "b_0_0", "b_1_0", "pad_0_0"]
    tags = [{"is_padding": key.startswith("pad")} for key in keys]
    queue.update(rows(config, scores), tags=tags)
    trainer, metrics = trainer_of(config), {}
    trainer.credit, trainer.tokenizer = credit, tokenizer
    trainer._compute_advantage(KVBatchMeta(partition_id="train", keys=keys, tags=tags), metrics)
    return trainer, metrics


def test_the_columns_reach_the_advantage_the_metrics_and_the_records(queue, tmp_path):
    trainer, metrics = step(queue, [0.3, 0.1, 0.2, 0.2, 0.9], f"trainer.rollout_data_dir={tmp_path}")
    a, b, c, d, pad = queue["advantages"].unbind()
    root = 0.5**0.5
    assert a.tolist() == pytest.approx([root + 0.4 * root] * 5, abs=1e-4)
    assert b.tolist() == pytest.approx([-root - 0.4 * root] * 3, abs=1e-4)
    assert c.abs().max() < 1e-4 and d.abs().max() < 1e-4 and pad.tolist() == [0.0]
    assert metrics["mapo/outcome/mean"] == pytest.approx(0.75)
    assert metrics["mapo/alignment/mean"] == pytest.approx(0.2), "the padding row's score is not counted"
    assert metrics["mapo/std_floor/alignment_share"] == 0.5
    assert metrics["rollout_visual/crop_area"] == 0.25
    assert [record["uid"] for record in trainer.records] == ["a", "a", "b", "b"]
    assert trainer.records[0]["advantage"] == pytest.approx(root * 1.4, abs=1e-4)
    assert all(record["credit"] is None for record in trainer.records)


def test_the_tokens_of_credited_rollouts_are_written_down_with_what_the_loss_gets(queue, tmp_path, model):
    lengths = [*LENGTHS, 1]
    queue[FOCUS] = jagged([torch.linspace(0.4, 0.6, 1 + length) for length in lengths])
    queue["responses"] = jagged([torch.arange(40, 40 + length) for length in lengths])
    queue["loss_mask"] = jagged([torch.ones(length) for length in LENGTHS] + [torch.zeros(1)])
    settings = {"credit": VisualCreditSettings(), "tokenizer": model.tokenizer}
    trainer, _ = step(queue, [0.3, 0.1, 0.2, 0.2, 0.9], f"trainer.rollout_data_dir={tmp_path}", **settings)
    first, *_ = trainer.records
    assert first["credit"]["tokens"] == [model.tokenizer.decode([token]) for token in range(40, 45)]
    assert first["credit"]["focus"] == pytest.approx([0.4, 0.44, 0.48, 0.52, 0.56]), "of a response's predictors"
    assert first["credit"]["advantage"] == pytest.approx(queue["advantages"].unbind()[0].tolist(), abs=5e-5)
    assert len(set(first["credit"]["advantage"])) == 5
    assert [len(record["credit"]["focus"]) for record in trainer.records] == LENGTHS
    json.dumps(trainer.records)


def test_an_unscored_turn_is_counted_and_too_many_stop_the_run(queue):
    _, metrics = step(queue, [0.3, None, 0.2, 0.2, 0.9])
    assert metrics["mapo/alignment/unscored_share"] == 0.25
    with pytest.raises(RuntimeError, match="failed on 75% of the visual turns of step 7"):
        step(queue, [0.3, None, None, None, 0.9])
