# Copyright 2026 The verl_mapo authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""What a study of several arms and seeds found: a markdown table, and a figure.

    python scripts/study.py FOLDER [--figure FILE.png]

FOLDER/runs/ARM-SEED are the runs. Held-out figures are of the last validation. ``±`` is half of a 95 % t-interval over
the seeds; differences are paired by seed, since the arms of a seed share the questions and their order.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from scipy.stats import t

from verl_mapo.advantages.mapo import RIGHT
from verl_mapo.report.load import Rollout, Run
from verl_mapo.report.recovery import recovery_of
from verl_mapo.rollout.trajectory import Turn

FIGURES = ("accuracy", "Pass@4", "tool rate", "all wrong", "recovered")


def held_out(rollouts: list[Rollout]) -> dict[str, float]:
    """Accuracy, the share of questions with a right rollout, and the share of rollouts that called."""
    questions: dict[str, list[bool]] = defaultdict(list)
    for rollout in rollouts:
        questions[rollout.uid].append(rollout.outcome >= RIGHT)
    called = [any(Turn(**turn).called for turn in rollout.trajectory["turns"]) for rollout in rollouts]
    return {
        "accuracy": fmean(right for rights in questions.values() for right in rights),
        "Pass@4": fmean(any(rights) for rights in questions.values()),
        "tool rate": fmean(called),
    }


def figures_of(run: Run) -> dict[str, float | None]:
    """One run in numbers; the last two are of training: groups whose tool users all failed, and prefixes recovered."""
    found = recovery_of(run)
    last = max(run.files["val"])
    return {
        **held_out(run.rollouts(last, "val")),
        "all wrong": found.triggered.share,
        "recovered": found.recovered.share,
    }


def spread(values: list[float]) -> float:
    """Half of the 95 % t-interval of a mean."""
    return t.ppf(0.975, len(values) - 1) * stdev(values) / sqrt(len(values)) if len(values) > 1 else float("nan")


def shown(values: list[float | None], signed: bool = False) -> str:
    """Mean and spread in percent."""
    known = [100 * value for value in values if value is not None]
    return f"{fmean(known):{'+' * signed}.1f} ± {spread(known):.1f}" if known else ""


def outcomes(run: Run) -> tuple[list[int], list[float]]:
    """Training accuracy of the original rollouts by step."""
    explored = run.series("axpo/outcome/original")
    return explored if explored[0] else run.series("critic/score/mean")


def draw(runs: dict[str, dict[int, Run]], file: Path, window: int = 5) -> None:
    """Training accuracy by arm: the mean over seeds, smoothed, and the seeds behind it."""
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for number, (arm, by_seed) in enumerate(runs.items()):
        curves = [outcomes(run)[1] for run in by_seed.values()]
        length = min(map(len, curves))
        smooth = [[fmean(curve[max(0, i - window + 1) : i + 1]) for i in range(length)] for curve in curves]
        for curve in smooth:
            axes.plot(range(1, length + 1), curve, color=f"C{number}", alpha=0.25, linewidth=0.8)
        axes.plot(range(1, length + 1), [fmean(c) for c in zip(*smooth, strict=True)], color=f"C{number}", label=arm)
    axes.set(xlabel="step", ylabel=f"training accuracy, mean of {window} steps")
    axes.legend()
    figure.savefig(file, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--base", default="grpo", help="the arm that differences are taken to")
    parser.add_argument("--figure", type=Path)
    arguments = parser.parse_args()
    runs: dict[str, dict[int, Run]] = defaultdict(dict)
    for folder in sorted((arguments.folder / "runs").iterdir()):
        run = Run.open(folder)
        if run.files["val"]:
            arm, seed = folder.name.rsplit("-", 1)
            runs[arm][int(seed)] = run
    numbers = {arm: {seed: figures_of(run) for seed, run in by_seed.items()} for arm, by_seed in runs.items()}
    base = numbers[arguments.base]
    print("| arm | seeds |", " | ".join(FIGURES), f"| accuracy - {arguments.base} |")
    print("|---" * (len(FIGURES) + 3) + "|")
    for arm, by_seed in sorted(numbers.items(), key=lambda item: item[0] != arguments.base):
        cells = [shown([one[name] for one in by_seed.values()]) for name in FIGURES]
        gain = [by_seed[seed]["accuracy"] - base[seed]["accuracy"] for seed in by_seed if seed in base]
        print(
            f"| {arm} | {len(by_seed)} |",
            " | ".join(cells),
            f"| {shown(gain, signed=True) if arm != arguments.base else ''} |",
        )
    if arguments.figure:
        draw(runs, arguments.figure)


if __name__ == "__main__":
    main()
