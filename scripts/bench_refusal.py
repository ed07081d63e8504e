# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""How long a mistake in the settings costs: from the start of the command to its sentence.

    python scripts/bench_refusal.py

``verl_mapo.driver`` checks before Ray starts; verl's own ``main_ppo`` reaches the same check in the trainer, which is
an actor of the started Ray. Both get the same mistake, one after the other. CPU seconds are those of the command's own
process and of the children that it has waited for, without Ray's.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

from rich.console import Console
from rich.table import Table

from verl_mapo.platforms import cpu

MISTAKE = "algorithm.mapo.beta=-1"
ARGUMENTS = ["--config-path", "pkg://verl_mapo.config", "--config-name", "run", "stack=cpu", MISTAKE]
ARGUMENTS += ["data.train_files=a.parquet", "data.val_files=a.parquet", "actor_rollout_ref.model.path=model"]
ARGUMENTS += ["reward.description_alignment.scorer.model=org/name", "hydra.run.dir=/tmp/bench_refusal"]


def cost(module: str) -> tuple[float, float]:
    """Wall and CPU seconds of a command that ends with the sentence of the mistake."""
    wall, before = time.monotonic(), os.times()
    done = subprocess.run(
        [sys.executable, "-m", module, *ARGUMENTS],
        env={**os.environ, **cpu.environment()},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    after = os.times()
    if done.returncode == 0 or f"{MISTAKE} is refused" not in done.stdout:
        raise SystemExit(f"{module} did not refuse {MISTAKE}:\n{done.stdout[-2000:]}")
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return time.monotonic() - wall, used


def main() -> None:
    """Print both costs and their ratio."""
    costs = {module: cost(module) for module in ("verl_mapo.driver", "verl.trainer.main_ppo")}
    table = Table("command", "wall s", "CPU s of the command", "ratio of wall", title=f"A mistake: {MISTAKE}")
    least = costs["verl_mapo.driver"][0]
    for module, (wall, used) in costs.items():
        table.add_row(module, f"{wall:.1f}", f"{used:.1f}", f"{wall / least:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
