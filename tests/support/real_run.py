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

from verl_mapo.launcher import TIMED_OUT

TIMEOUT_S = 2400
"""Time limit of a run, in seconds. It takes one to two minutes on two free cores, and longer on busy ones."""

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


def code_of(process: subprocess.Popen) -> int:
    """Wait for a run to end; returns its exit code. If the test is stopped before, the run is stopped, too."""
    try:
        return process.wait()
    finally:
        process.terminate()
        process.wait()


def train(run: Path, overrides: list[str], env: dict[str, str] | None = None) -> dict[int, dict[str, float]]:
    """Run to the end; returns the metrics by step."""
    code = code_of(start(run, overrides, env))
    assert code == 0, (run / "train.log").read_text(errors="replace")[-4000:]
    return metrics_of(run)


def observed(**variables: str) -> dict[str, str]:
    """The environment of a run that ``kill_at.py`` observes, with the variables that it reads."""
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {"VERL_USE_EXTERNAL_MODULES": "kill_at", "PYTHONPATH": path, **variables}


def killed(run: Path, overrides: list[str], place: str) -> None:
    """Run until the trainer is killed at a place of a step, such as ``logged 2``."""
    code = code_of(start(run, overrides, observed(KILL_AT=place)))
    assert code not in (0, TIMED_OUT), f"the run was not killed at {place!r}, but ended with code {code}"


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
