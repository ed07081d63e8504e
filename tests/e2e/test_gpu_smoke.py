# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""scripts/gpu_smoke.sh without a GPU: each of its steps at tiny shapes."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from support.real_run import metrics_of

pytestmark = [pytest.mark.e2e, pytest.mark.matrix]

SCRIPT = Path(__file__).parents[2] / "scripts" / "gpu_smoke.sh"


def test_smoke_is_rehearsed_without_a_gpu(tmp_path):
    environment = os.environ | {"SMOKE_CPU": "1", "FOLDER": str(tmp_path), "COLUMNS": "160"}
    done = subprocess.run([str(SCRIPT), ""], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert re.findall(r"^(\d)/7 ", done.stderr, re.MULTILINE) == [*"1234567"]
    steps = metrics_of(tmp_path / "run")
    assert {*steps} == {1, 2} and any(step["rollout_visual/tool_rate"] > 0 for step in steps.values())
    measured = (tmp_path / "measured.md").read_text()
    assert measured in done.stdout and "its figures say nothing about a GPU" in measured
    rows = {line.split("|")[1].strip(): line for line in measured.splitlines() if line.startswith("|")}
    unmeasured = {name for name, line in rows.items() if "not measured" in line}
    on_a_gpu = {"GPU, the most at any moment", "GPU in an update, at least", "KV cache of an engine, tokens"}
    assert unmeasured == on_a_gpu
    assert {"**a step**", "a checkpoint", "host and object store, growth", "with focus"} <= {*rows}
    assert measured.count("actor, 2 copies") == 2, "scoring alone, and beside vLLM"
    assert re.search(r"vLLM beside it: [\d,]+ tokens/s, and [\d,]+ alone", measured)
