# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""scripts/bench_scale.py with two questions: a step goes through every process, and rows are as large as is planned."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from verl_mapo.planning.arithmetic import BFLOAT16, feature_bytes

SCRIPT = Path(__file__).parents[1] / "scripts" / "bench_scale.py"
SMALL = {"prompt_tokens": 100, "turn_tokens": 40, "scorers": 1, "reward_workers": 1, "engines": 1}
PIXEL_VALUES = 4704


@pytest.mark.matrix
@pytest.mark.parametrize("method", ["mapo", "axpo"])
def test_simulated_step_goes_through_every_process(method, tmp_path):
    options = ["--rollouts", "16", "--methods", method, "--sizes", json.dumps(SMALL), "--json", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, SCRIPT, *options], stdout=subprocess.PIPE, text=True, check=True, timeout=500
    )
    assert f"{method}: 16 rollouts" in done.stdout
    found = json.loads((tmp_path / f"{method}_16.json").read_text())
    assert found["crops"] > 0 and found["longest"] > 0
    assert {"trainer", "ScorerActor", "RewardLoopWorker", "SimpleStorageUnit"} < set(found["generation"])
    assert ("SlotActor" in found["generation"]) == (method == "axpo")
    # the numbers of rows and tokens are counted in the queue, the bytes come from the formulas of a plan
    rows = found["rows"]
    assert rows["rows"] >= 16
    assert rows["pixels"] == feature_bytes(rows["image_tokens"], PIXEL_VALUES, BFLOAT16)
