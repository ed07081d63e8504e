# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""A real run of SFT with verl's sft_trainer, interrupted and resumed, and a run of RL from its checkpoint."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from support.real_run import TIMEOUT_S, metrics_of, toy_overrides, train
from support.supervised import demonstrations

pytestmark = [pytest.mark.matrix, pytest.mark.e2e]


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


@pytest.fixture(scope="module")
def trained(toy, tmp_path_factory) -> SimpleNamespace:
    """A run of two epochs on two ranks that is interrupted between them: its folder, its model and its second log."""
    run = tmp_path_factory.mktemp("sft")
    rows = demonstrations(toy.train, run / "rows.parquet", "qwen2_5_vl", 32)
    sft(run, toy, rows, "trainer.total_epochs=1")
    first = (run / "train.log").read_text(errors="replace")
    said = sft(run, toy, rows, "trainer.total_epochs=2")
    model = Path(said.split()[-1].partition("=")[2])
    second = (run / "train.log").read_text(errors="replace")[len(first) :]
    assert "is complete" in sft(run, toy, rows, "trainer.total_epochs=2")
    return SimpleNamespace(run=run, model=model, logs=(first, second))


def test_sft_resumes_learns_and_leaves_the_tower_as_it_is(toy, trained):
    first, second = (set(re.findall(r"step:(\d+) ", log)) for log in trained.logs)
    assert (first, second) == ({"1", "2", "3", "4"}, {"5", "6", "7", "8"})
    steps = metrics_of(trained.run)
    losses = [steps[step]["train/loss"] for step in range(1, 9)]
    assert sum(losses[4:]) / 4 < 0.7 * losses[0]
    assert trained.model == trained.run / "checkpoints" / "global_step_8" / "huggingface"
    assert_only_the_tower_is_as_before(weights(toy.model), weights(trained.model))


def test_rl_trains_the_model_of_sft_with_a_frozen_tower(toy, trained, tmp_path):
    actor = "actor_rollout_ref.actor"
    overrides = [f"actor_rollout_ref.model.path={trained.model}", f"{actor}.freeze_vision_tower=true"]
    overrides += [f"{actor}.optim.lr=1e-3", f"{actor}.checkpoint.save_contents=[model,hf_model]"]
    overrides += ["trainer.total_training_steps=1", "trainer.save_freq=1"]
    assert 1 in train(tmp_path, [*toy_overrides(toy), *overrides])
    after = weights(tmp_path / "checkpoints" / "global_step_1" / "actor" / "huggingface")
    assert_only_the_tower_is_as_before(weights(trained.model), after)
