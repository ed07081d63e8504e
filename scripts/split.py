# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Where the time of a run went, from its run folder: start, steps, validations, end.

    python scripts/split.py RUN

The start is read from the times in train.log, the steps from the metrics ``timing_s/*``, and the rest from the times at
which files were last written. If a run was started several times, the last attempt is shown.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from statistics import fmean, median

from rich.console import Console
from rich.table import Table

from verl_mapo.run_folder import RunFolder

MOMENT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
START = (
    ("command line, main_ppo: imports", "Platform override from VERL_PLATFORM"),
    ("checks, ray", "Started a local Ray instance"),
    ("trainer: imports, data, checks", "worker group kwargs"),
    ("policy worker: imports, model, FSDP2", "actor and ref model engine initialized"),
    ("vLLM: imports, model, cache", "checkpoint engine manager initialized"),
)
"""The parts of the start in their order, each with a text of the first line of train.log after it."""

STEP = {
    "gen": "generation, with tools and reward",
    "old_log_prob": "log-probs",
    "ref": "log-probs of the reference policy",
    "adv": "advantages, metrics and records",
    "update_actor": "update",
    "save_checkpoint": "checkpoint",
    "update_weights": "weight sync",
}
"""The parts of verl's ``timing_s/step``."""

WAITS = {"generate_sequences": "the policy", "tool_calls": "its tools", "compute_score": "its reward"}


class Attempt:
    """The last attempt of a run.

    Args:
        run: its folder.

    Attributes:
        begin, end: when it started and when it last wrote to its log, in seconds since the epoch.
        steps: the metrics ``timing_s/*`` of each training step, without their prefix.
    """

    def __init__(self, run: RunFolder):
        self.run = run
        self.begin = datetime.fromisoformat(json.loads(run.about.read_text())["started"]).timestamp()
        self.end = run.log.stat().st_mtime
        entries = [json.loads(line) for line in run.metrics[-1].read_text().splitlines()]
        timed = {entry["step"]: _timing(entry["data"]) for entry in entries}
        self.steps = {step: seconds for step, seconds in timed.items() if "step" in seconds}

    def start(self) -> list[tuple[str, float]]:
        """The parts of the start with their seconds; a part whose end the log does not show is in the next one."""
        times = [
            (line, datetime.fromisoformat(found[0]).timestamp())
            for line in self.run.log.read_text(errors="replace").splitlines()
            if (found := MOMENT.search(line))
        ]
        parts, previous = [], self.begin
        for title, text in START:
            ends = [time for line, time in times if text in line and time >= previous]
            if ends:
                parts.append((title, ends[0] - previous))
                previous = ends[0]
        if written := self.run.rollouts("val").get(0):
            parts.append(("agent-loop worker, validation before training", written.stat().st_mtime - previous))
        return parts

    def whole(self) -> list[tuple[str, float]]:
        """The seconds of the attempt in four parts that add up to it."""
        start = sum(seconds for _, seconds in self.start())
        steps = sum(seconds["step"] for seconds in self.steps.values())
        testing = sum(seconds.get("testing", 0) for seconds in self.steps.values())
        rest = self.end - self.begin - start - steps - testing
        return [
            ("start, with the validation before training", start),
            (f"{len(self.steps)} steps", steps),
            ("validations after it", testing),
            ("the rest: logging, writing rollouts, waiting, end of the processes", rest),
        ]

    def step(self) -> list[tuple[str, float, float]]:
        """Median and mean seconds of the parts of a step, without the first step if there are others."""
        steps = [self.steps[step] for step in sorted(self.steps)]
        steps = steps[1:] or steps
        parts = [(title, [step.get(name, 0.0) for step in steps]) for name, title in STEP.items()]
        parts.append(("the rest", [step["step"] - sum(step.get(name, 0) for name in STEP) for step in steps]))
        parts.append(("a step", [step["step"] for step in steps]))
        for name, title in WAITS.items():
            for kind in ("mean", "max"):
                waited = [step[found] for step in steps if (found := f"seconds/{name}/{kind}") in step]
                parts.append((f"a rollout waits for {title}, {kind}", waited))
        return [(title, median(values), fmean(values)) for title, values in parts if any(values)]


def _timing(metrics: dict[str, float]) -> dict[str, float]:
    prefixes = ("timing_s/", "rollout_visual/seconds/")
    return {name.partition("/")[2]: value for name, value in metrics.items() if name.startswith(prefixes)}


def table(title: str, columns: Iterable[str], rows: Iterable[tuple[str, ...]]) -> Table:
    """A table whose first column is text and whose other columns are seconds."""
    shown = Table("", title=title, title_justify="left")
    for column in columns:
        shown.add_column(column, justify="right")
    for name, *seconds in rows:
        shown.add_row(name, *(f"{value:.2f}" for value in seconds))
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description="Print where the time of a run went.")
    parser.add_argument("run", type=Path, help="folder of the run")
    attempt = Attempt(RunFolder(parser.parse_args().run))
    console = Console()
    console.print(table("The run", ["seconds"], [*attempt.whole(), ("all", attempt.end - attempt.begin)]))
    console.print(table("Its start", ["seconds"], attempt.start()))
    console.print(table("A step, without the first", ["median s", "mean s"], attempt.step()))


if __name__ == "__main__":
    main()
