# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Numbers that are not finite stop a run, and the batch that made them is on the disk."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from support.fake_queue import FakeQueue, jagged, scored_rows
from transfer_queue import KVBatchMeta

from verl_mapo.rollout.statuses import EndReason
from verl_mapo.rollout.trajectory import Trajectory, Turn
from verl_mapo.training.finite_checks import FiniteChecks
from verl_mapo.training.step_batch import StepBatch

KEYS = ["a_0_0", "a_1_0", "pad_0_0"]
NOT_FINITE = st.sampled_from([math.nan, math.inf, -math.inf])


def batch_of(queue: FakeQueue, **rows: list[torch.Tensor]) -> KVBatchMeta:
    """Rollouts of 3 and 2 tokens, and a row of padding."""
    found = Trajectory(["/data/1.png"], [(9, 9)], [Turn((0, 3), "red")], EndReason.ANSWER)
    masks = [torch.ones(3), torch.ones(2), torch.zeros(1)]
    queue.fields.update(scored_rows(masks, [1.0, 0.0, 0.0], [found, found, None]))
    defaults = {name: [torch.zeros(3), torch.zeros(2), torch.zeros(1)] for name in ("advantages", "old_log_probs")}
    queue.fields.update({name: jagged(values) for name, values in {**defaults, **rows}.items()})
    return queue.batch(KEYS, is_padding=[False, False, True])


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_advantages_that_are_not_finite_stop_the_run_before_the_update_with_the_batch(queue, tmp_path, value):
    batch = batch_of(queue, advantages=[torch.ones(3), torch.tensor([0.0, value]), torch.zeros(1)])
    with pytest.raises(RuntimeError) as stopped:
        FiniteChecks(tmp_path, 0).check_advantages(StepBatch.fetch(batch, 7, fields=["advantages"]), {"x": value})
    sentence = str(stopped.value)
    assert "1 of 3 rollouts of step 7 are not finite numbers: a_1_0 (reward 0.0)" in sentence
    assert f"{tmp_path}/step_7.json" in sentence and "a_1_0 (advantages)" in sentence
    about = json.loads((tmp_path / "step_7.json").read_text())
    assert about["metrics"] == {"x": str(value)} and about["step"] == 7
    row = about["rows"][1]
    assert (row["key"], row["not_finite"], row["tokens"], row["session"]) == ("a_1_0", ["advantages"], [3, 5], 1)
    assert row["trajectory"]["images"] == ["/data/1.png"] and "pixels" not in row["trajectory"]["turns"][0]
    begin, end = row["tokens"]
    advantages = load_file(tmp_path / "step_7.safetensors")["advantages"]
    assert str(advantages[begin:end].tolist()) == str([0.0, value])


@pytest.mark.parametrize("estimator", ["grpo", "hdpo"])
def test_reward_that_is_not_finite_stops_the_run_before_the_update(queue, make_trainer, tmp_path, estimator):
    batch = batch_of(queue)
    queue.fields["rm_scores"] = jagged([torch.tensor([0, 0, math.nan]), torch.zeros(2), torch.zeros(1)])
    queue.fields["uid"] = ["a", "a", "pad"]
    columns = [Trajectory([]).columns(2)] * 3
    queue.fields.update({name: torch.stack([row[name] for row in columns]) for name in columns[0]})
    trainer = make_trainer(f"method={estimator}", f"trainer.default_local_dir={tmp_path}")
    with pytest.raises(RuntimeError, match=r"a_0_0 \(reward nan\)"):
        trainer._compute_advantage(batch, {})
    assert (tmp_path / "not_finite" / "step_7.json").is_file()


@given(value=NOT_FINITE, name=st.sampled_from(["actor/grad_norm", "actor/loss", "actor/pg_loss", "critic/vf_loss"]))
def test_any_loss_or_norm_that_is_not_finite_is_noticed(value, name):
    with pytest.raises(RuntimeError, match=f"step 7 had {name}={value}"):
        FiniteChecks(Path("/proc/no"), 0).check_update(None, 7, {name: value, "actor/entropy": 1.0})
    FiniteChecks(Path("/proc/no"), 0).check_update(None, 7, {name: 0.5, "perf/mfu/actor": value})


def test_update_without_a_sound_gradient_stops_the_run_with_the_row_that_could_be_the_reason(queue, tmp_path):
    batch = batch_of(queue, old_log_probs=[torch.tensor([0, -math.inf, 0]), torch.zeros(2), torch.zeros(1)])
    with pytest.raises(RuntimeError) as stopped:
        FiniteChecks(tmp_path, 0).check_update(batch, 3, {"actor/grad_norm": math.nan})
    assert "The update of step 3 had actor/grad_norm=nan." in str(stopped.value)
    assert "1 of its rows have values that are not finite: a_0_0 (old_log_probs)" in str(stopped.value)
    assert "visual_tool.max_nonfinite_updates=1" in str(stopped.value)


def test_as_many_updates_in_a_row_as_are_allowed_are_only_logged(queue, tmp_path, caplog):
    batch, checks = batch_of(queue), FiniteChecks(tmp_path, 1)
    for value in (math.nan, 1.0, math.nan):
        checks.check_update(batch, 3, {"actor/grad_norm": value})
    assert caplog.text.count("visual_tool.max_nonfinite_updates=1 allows it") == 2 and not list(tmp_path.iterdir())
    with pytest.raises(RuntimeError, match="No value in it is other than finite"):
        checks.check_update(batch, 4, {"actor/grad_norm": math.nan})


def test_update_is_checked_while_its_batch_is_in_the_queue(queue, make_trainer, monkeypatch, tmp_path):
    from datasets import Dataset
    from verl.trainer.ppo.v1 import PPOTrainer

    batch = batch_of(queue)

    def step_once(trainer, metrics, *_):
        metrics["actor/grad_norm"] = math.nan
        return batch

    monkeypatch.setattr(PPOTrainer, "_step_once", step_once)
    trainer = make_trainer(f"trainer.default_local_dir={tmp_path}")
    trainer.train_dataset = type("Rows", (), {"dataframe": Dataset.from_list([{"x": 1}])})
    with pytest.raises(RuntimeError, match="step_7.json"):
        trainer._step_once({}, {}, 2)
    assert trainer.prompts == 2
