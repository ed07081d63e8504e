# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""A real run of SFT with verl's sft_trainer, interrupted and resumed, and a run of RL from its checkpoint."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support.real_run import TIMEOUT_S, metrics_of, toy_overrides, train
from support.supervised import demonstrations

pytestmark = [pytest.mark.matrix, pytest.mark.e2e]

STEPS = 8


def sft(run: Path, toy, rows: Path, *overrides: str) -> str:
    """`verl-mapo sft` to its end; returns what it printed."""
    command = [sys.executable, "-m", "verl_mapo.cli", "sft", "--model", str(toy.model), "--data", str(rows)]
    command += ["--run", str(run), "--timeout-h", str(TIMEOUT_S / 3600)]
    limits = ["data.max_prompt_length=512", "data.max_response_length=256", "data.train_batch_size=8"]
    limits += ["optim.lr=1e-3", "optim.lr_scheduler_type=constant", "trainer.n_gpus_per_node=2", *overrides]
    done = subprocess.run([*command, *limits], env=os.environ, stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0, done.stdout + (run / "train.log").read_text(errors="replace")[-4000:]
    return done.stdout


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return {name: value.float() for name, value in load_file(folder / "model.safetensors").items()}


def assert_only_the_tower_is_as_before(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> None:
    same = {name for name, value in before.items() if torch.equal(value, after[name])}
    tower = {name for name in before if "visual." in name}
    assert tower and same >= tower and len(same - tower) < len(before) - len(tower)


def test_sft_learns_with_a_frozen_tower_resumes_and_its_model_is_trained_by_rl(toy, tmp_path):
    rows, run = demonstrations(toy.train, tmp_path / "rows.parquet", "qwen2_5_vl", 32), tmp_path / "sft"
    sft(run, toy, rows, "trainer.total_epochs=1")
    log = (run / "train.log").read_text(errors="replace")
    said = sft(run, toy, rows, f"trainer.total_epochs={STEPS // 4}")
    again = (run / "train.log").read_text(errors="replace")[len(log) :]
    assert "step:1 " in log and "step:5 " in again and "step:4 " not in again, "the second run goes on after step 4"
    steps = metrics_of(run)
    losses = [steps[step]["train/loss"] for step in range(1, STEPS + 1)]
    assert sum(losses[4:]) / 4 < 0.7 * losses[0]
    assert "is complete" in sft(run, toy, rows, f"trainer.total_epochs={STEPS // 4}")

    model = Path(said.split()[-1].partition("=")[2])
    assert model == run / "checkpoints" / f"global_step_{STEPS}" / "huggingface"
    before = weights(model)
    assert_only_the_tower_is_as_before(weights(toy.model), before)

    rl = tmp_path / "rl"
    saved = ["trainer.total_training_steps=1", "trainer.save_freq=1", "actor_rollout_ref.actor.optim.lr=1e-3"]
    saved += ["actor_rollout_ref.actor.freeze_vision_tower=true", f"actor_rollout_ref.model.path={model}"]
    saved.append("actor_rollout_ref.actor.checkpoint.save_contents=[model,hf_model]")
    assert 1 in train(rl, [*toy_overrides(toy), *saved])
    assert_only_the_tower_is_as_before(before, weights(rl / "checkpoints" / "global_step_1" / "actor" / "huggingface"))
