# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""scripts/split.py on the folder of a run that was written by hand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "scripts" / "split.py"
LOG = """
2026-01-01 11:00:00,000 INFO worker.py -- Started a local Ray instance of an earlier attempt.
INFO:2026-01-01 12:00:04,100:Platform override from VERL_PLATFORM: cpu
2026-01-01 12:00:10,000 INFO worker.py -- Started a local Ray instance.
(TaskRunner) INFO:2026-01-01 12:00:40,000:checkpoint engine manager initialized
"""


def test_parts_of_a_run_are_those_of_its_log_metrics_and_files(tmp_path):
    steps = [
        {"timing_s/step": 30.0, "timing_s/gen": 20.0},
        {"timing_s/step": 10.0, "timing_s/gen": 4.0, "timing_s/update_actor": 5.0, "timing_s/testing": 7.0},
        {"timing_s/step": 14.0, "timing_s/gen": 8.0, "rollout_visual/seconds/tool_calls/max": 1.25},
    ]
    lines = [{"step": 0, "data": {"val-core/x/acc/mean@1": 0.5}}]
    lines += [{"step": number, "data": data} for number, data in enumerate(steps, 1)]
    write(tmp_path / "metrics" / "000.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    write(tmp_path / "run.json", json.dumps({"started": "2026-01-01 12:00:00"}))
    begin = datetime.fromisoformat("2026-01-01 12:00:00").timestamp()
    for file, after in (("trajectories/val/0.jsonl", 60.5), ("train.log", 130.0)):
        write(tmp_path / file, LOG)
        os.utime(tmp_path / file, (begin + after, begin + after))
    shown = subprocess.run([sys.executable, str(SCRIPT), str(tmp_path)], capture_output=True, text=True, check=True)
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in shown.stdout.splitlines() if "│" in line]
    seconds = {name: [float(value) for value in values] for name, *values in rows}
    assert seconds == {
        "start, with the validation before training": [60.5],
        "3 steps": [54.0],
        "validations after it": [7.0],
        "the rest: logging, writing rollouts, waiting, end of the processes": [8.5],
        "all": [130.0],
        "command line, main_ppo: imports": [4.0],
        "checks, ray": [6.0],
        "vLLM: imports, model, cache": [30.0],
        "agent-loop worker, validation before training": [20.5],
        "generation, with tools and reward": [6.0, 6.0],
        "update": [2.5, 2.5],
        "the rest": [3.5, 3.5],
        "a step": [12.0, 12.0],
        "a rollout waits for its tools, max": [1.25, 1.25],
    }


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
