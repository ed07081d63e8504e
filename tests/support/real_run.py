# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Real runs of the trainer on the CPU stack, and what they logged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

TIMEOUT_S = 900
PROMPTS = 4  # a step


def toy_overrides(toy: Any) -> list[str]:
    """Data, model and scorer of a toy, and a run of two small steps that validates nothing and keeps nothing."""
    return [
        "task=toy",
        f"data.train_files={toy.train}",
        f"data.val_files={toy.test}",
        f"actor_rollout_ref.model.path={toy.model}",
        f"reward.description_alignment.scorer.model={toy.clip}",
        f"data.train_batch_size={PROMPTS}",
        f"actor_rollout_ref.actor.ppo_mini_batch_size={PROMPTS}",
        "trainer.total_training_steps=2",
        "trainer.val_before_train=false",
        "trainer.test_freq=-1",
        "trainer.save_freq=-1",
    ]


def start(run: Path, overrides: list[str], env: dict[str, str] | None = None) -> subprocess.Popen:
    """`verl-mapo train` in a process group of its own; its output goes to ``run/train.log``."""
    command = [sys.executable, "-m", "verl_mapo.cli", "train", "--run", str(run), "--timeout-h", str(TIMEOUT_S / 3600)]
    run.mkdir(parents=True, exist_ok=True)
    return subprocess.Popen(
        [*command, *overrides],
        env={**os.environ, **(env or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def train(run: Path, overrides: list[str], env: dict[str, str] | None = None) -> dict[int, dict[str, float]]:
    """Run to the end; returns the metrics by step."""
    code = start(run, overrides, env).wait(TIMEOUT_S + 60)
    assert code == 0, (run / "train.log").read_text(errors="replace")[-4000:]
    return metrics_of(run)


def metrics_of(run: Path) -> dict[int, dict[str, float]]:
    """What every attempt of a run logged, by step; a later attempt wins."""
    steps: dict[int, dict[str, float]] = {}
    for file in sorted((run / "metrics").glob("*.jsonl")):
        for line in file.read_text().splitlines():
            entry = json.loads(line)
            steps.setdefault(entry["step"], {}).update(entry["data"])
    return steps


def rollouts_of(run: Path, step: int, split: str = "train") -> list[dict[str, Any]]:
    """The records of a step's rollouts."""
    lines = (run / "trajectories" / split / f"{step}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]
