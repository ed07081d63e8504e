# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Every recipe is rehearsed: its own configuration on the CPU stack, with a checkpoint from which it goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.real_run import TIMEOUT_S, metrics_of, rollouts_of

from verl_mapo.report.load import RunData

pytestmark = [pytest.mark.e2e, pytest.mark.matrix]

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*/*.yaml"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_recipe_is_rehearsed(recipe, tmp_path):
    command = [sys.executable, "-m", "verl_mapo.cli", "rehearse", "--recipe", str(recipe), "--run", str(tmp_path)]
    limit = ["--timeout-h", str(TIMEOUT_S / 3600)]
    done = subprocess.run([*command, *limit], env={**os.environ, "COLUMNS": "160"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "What was rehearsed" in done.stdout and "not rehearsed" in done.stdout
    metrics = metrics_of(tmp_path)
    assert {1, 2, 3} <= {*metrics} and metrics[3]["actor/grad_norm"] >= 0
    assert len(list(tmp_path.glob("metrics/*.jsonl"))) == 2, "the third step is of another start"
    sizes = {
        size
        for step in (1, 2, 3)
        for each in RunData.open(tmp_path).rollouts(step, "train")
        for size in each.trajectory.image_sizes
    }
    assert rollouts_of(tmp_path, 3) and (not sizes or (8000, 6000) in sizes)
