# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Results of a study with several arms and seeds, as a markdown table and a figure.

    python scripts/study.py FOLDER [--base ARM] [--arms ARM ...] [--figure FILE.png]

The folder of each run is FOLDER/runs/ARM-SEED. All numbers are in percent. Held-out numbers are from the last
validation. ``±`` is half the width of a 95 % t-interval over the seeds. Differences are paired by seed, because the
arms of a seed have the same questions, in the same order unless an arm drops groups.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import matplotlib

from verl_mapo.columns import CORRECT

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from scipy.stats import t

from verl_mapo.report.load import Rollout, RunData
from verl_mapo.report.recovery import recovery_of
from verl_mapo.settings import ConfigError

Runs = dict[str, dict[int, RunData]]
"""The run by arm and seed."""

Numbers = dict[str, dict[int, dict[str, float | None]]]
"""The numbers of a run (:func:`numbers_of`) by arm and seed."""

CREDIT = {"late / early": "visual_credit/late_over_early", "score ~ length": "visual_credit/length_correlation"}
"""Column of the table to the metric of visual credit whose mean over the steps it shows."""

COMPARED = ("accuracy", "in training")
"""Columns whose difference from the base arm is shown."""


def held_out(rollouts: list[Rollout]) -> dict[str, float]:
    """Accuracy, share of questions with at least one right rollout, and share of rollouts that called a tool."""
    questions: dict[str, list[bool]] = defaultdict(list)
    for rollout in rollouts:
        questions[rollout.uid].append(rollout.outcome >= CORRECT)
    called = [rollout.trajectory.called for rollout in rollouts]
    return {
        "accuracy": fmean(right for rights in questions.values() for right in rights),
        "Pass@4": fmean(any(rights) for rights in questions.values()),
        "tool rate": fmean(called),
    }


def numbers_of(run: RunData) -> dict[str, float | None]:
    """The numbers of one run by column of the table; None if the run does not have it.

    Three columns are about training: ``in training`` is the accuracy over all steps, over many more rollouts than the
    held-out accuracy; ``all wrong`` is the share of groups with tool users in which all of these are wrong;
    ``recovered`` is the share of prefixes with a right continuation. The columns of :data:`CREDIT` follow.
    """
    found = recovery_of(run)
    last = max(run.files["val"])
    return {
        **held_out(run.rollouts(last, "val")),
        "in training": fmean(outcomes(run)),
        "all wrong": found.triggered.share,
        "recovered": found.recovered.share,
        **{name: fmean(values) if (values := run.series(metric)[1]) else None for name, metric in CREDIT.items()},
    }


def read_result(file: Path, names: Sequence[str]) -> dict[str, Any]:
    """Some values of a JSON file that a script of a study wrote.

    Raises:
        ConfigError: the file is no JSON object with these names.
    """
    try:
        values = json.loads(file.read_text())
        return {name: values[name] for name in names}
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{file} is no result of this study ({error!r}): make it again, or move it away.") from error


def spread(values: list[float]) -> float:
    """Half the width of the 95 % t-interval of a mean; NaN for a single value."""
    return t.ppf(0.975, len(values) - 1) * stdev(values) / sqrt(len(values)) if len(values) > 1 else float("nan")


def shown(values: list[float | None], signed: bool = False) -> str:
    """Mean and spread of shares, in percent; the mean alone of a single one."""
    known = [100 * value for value in values if value is not None]
    if not known:
        return ""
    return f"{fmean(known):{'+' * signed}.1f}" + (f" ± {spread(known):.1f}" if len(known) > 1 else "")


def outcomes(run: RunData) -> list[float]:
    """Training accuracy of the original rollouts by step; with dynamic sampling, of the groups that were kept."""
    originals = run.series("axpo/outcome/original")[1]
    return originals or run.series("critic/score/mean")[1]


def draw(runs: Runs, numbers: Numbers, file: Path, window: int = 5) -> None:
    """Draw smoothed training accuracy and held-out accuracy by arm, each as the mean over seeds and for every seed.

    Args:
        runs: the runs.
        numbers: their numbers.
        file: file of the figure.
        window: number of steps of the moving average.
    """
    figure, (training, held) = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    for number, (arm, by_seed) in enumerate(runs.items()):
        curves, color = [outcomes(run) for run in by_seed.values()], f"C{number}"
        length = min(map(len, curves))
        smooth = [[fmean(curve[max(0, i - window + 1) : i + 1]) for i in range(length)] for curve in curves]
        for curve in smooth:
            training.plot(range(1, length + 1), curve, color=color, alpha=0.25, linewidth=0.8)
        training.plot(range(1, length + 1), [fmean(c) for c in zip(*smooth, strict=True)], color=color, label=arm)
        accuracies = [one["accuracy"] for one in numbers[arm].values()]
        held.plot([number] * len(accuracies), accuracies, "o", color=color, alpha=0.4)
        held.plot([number - 0.3, number + 0.3], [fmean(accuracies)] * 2, color=color)
    training.set(xlabel="step", ylabel=f"training accuracy, mean of {window} steps")
    training.legend()
    held.set_xticks(range(len(runs)), list(runs), rotation=30)
    held.set(ylabel="held-out accuracy after training")
    figure.savefig(file, dpi=120)


def table(numbers: Numbers, base: str) -> str:
    """The markdown table with a row for each arm, without columns that no arm has."""
    rows = [one for by_seed in numbers.values() for one in by_seed.values()]
    figures = [name for name in rows[0] if any(one[name] is not None for one in rows)]
    head = ["arm", "seeds", *figures, *(f"{name} - {base}" for name in COMPARED)]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for arm, by_seed in numbers.items():
        shared = by_seed.keys() & numbers[base].keys() if arm != base else ()
        pairs = [(by_seed[seed], numbers[base][seed]) for seed in shared]
        cells = [shown([one[name] for one in by_seed.values()]) for name in figures]
        gains = [shown([one[name] - other[name] for one, other in pairs], signed=True) for name in COMPARED]
        lines.append(f"| {' | '.join([arm, str(len(by_seed)), *cells, *gains])} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--base", default="grpo", help="the arm that the others are compared with; the first row")
    parser.add_argument("--arms", nargs="+", help="the other arms; default: all")
    parser.add_argument("--figure", type=Path)
    arguments = parser.parse_args()
    runs: Runs = defaultdict(dict)
    for folder in sorted((arguments.folder / "runs").glob("*-*")):
        run = RunData.open(folder)
        if run.files["val"]:
            arm, seed = folder.name.rsplit("-", 1)
            runs[arm][int(seed)] = run
    arms = list(dict.fromkeys([arguments.base, *(arguments.arms or runs)]))
    missing = ", ".join(arm for arm in arms if arm not in runs)
    if missing:
        parser.error(
            f"no run of {missing} has a validation: choose --base and --arms among {', '.join(runs) or 'none yet'}"
        )
    runs = {arm: runs[arm] for arm in arms}
    numbers = {arm: {seed: numbers_of(run) for seed, run in by_seed.items()} for arm, by_seed in runs.items()}
    print(table(numbers, arguments.base))
    if arguments.figure:
        draw(runs, numbers, arguments.figure)


if __name__ == "__main__":
    main()
