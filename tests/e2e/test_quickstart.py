# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""What the README says of scripts/quickstart.sh."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from support.real_run import metrics_of

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "quickstart.sh"


def number(pattern: str, file: str) -> int:
    """The only number in a file of the repository that a pattern finds."""
    [found] = re.findall(pattern, (ROOT / file).read_text())
    return int(found)


def test_texts_agree_on_steps_and_minutes():
    steps = number(r"STEPS=\$\{STEPS:-(\d+)\}", "scripts/quickstart.sh")
    assert number(r"STEPS \((\d+)\) is the number", "scripts/quickstart.sh") == steps
    assert number(r"With the default seed, (\d+) steps raised", "README.md") == steps
    minutes = number(r"About (\d+) minutes on two free cores", "scripts/quickstart.sh")
    assert number(r"scripts/quickstart\.sh .*about (\d+) minutes", "README.md") == minutes <= 8
    assert number(r"`scripts/quickstart\.sh` trains .* about (\d+) minutes", "CONTRIBUTING.md") == minutes


@pytest.mark.e2e
@pytest.mark.matrix
def test_quickstart_reports_a_rise_of_accuracy_and_alignment(tmp_path):
    environment = os.environ | {"ENVIRONMENT": ""}
    subprocess.run([str(SCRIPT), str(tmp_path)], env=environment, check=True, timeout=1800)
    metrics, steps = metrics_of(tmp_path / "mapo"), number(r"STEPS=\$\{STEPS:-(\d+)\}", "scripts/quickstart.sh")
    assert max(metrics) == steps
    for name, rise in {"acc": 0.05, "alignment": 0.08}.items():
        before, after = (value_of(metrics[step], name) for step in (0, steps))
        assert after > before + rise, name
    assert "data:image" in (tmp_path / "mapo" / "report.html").read_text()


def value_of(metrics: dict[str, float], name: str) -> float:
    """The mean of a held-out metric."""
    [value] = [value for key, value in metrics.items() if re.fullmatch(rf"val-\w+/visual_search/{name}/mean@1", key)]
    return value
