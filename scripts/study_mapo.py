# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The study of MAPO (scripts/study_mapo.sh): reduces a run to a small JSON file, and shows those of all runs.

    python scripts/study_mapo.py reduce RUN --out ARM-SEED.json
    python scripts/study_mapo.py show FOLDER [--base ARM] [--figure FILE.png]

``area`` is the mean over all training steps of the share of right rollouts, the area under the curve; an arm with
dynamic sampling has none, because its steps hold mixed groups only. Everything else but ``collapsed`` is of the last
validation. ``collapsed`` counts the runs in which, at some step, fewer than half of the rollouts called a tool or fewer
than half of the calls could be executed.

Differences are paired by seed, because the arms of a seed are asked the same questions. They have two 95 % intervals:
a t-interval over the seeds, and a bootstrap over the held-out questions with the seeds as they are. The first says what
other trainings would give, the second what other questions would.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from statistics import fmean
from typing import Any

import matplotlib
import numpy as np
from study import held_out, read_result, shown, spread
from toy_facts import Targets, hit, target_boxes

from verl_mapo.columns import CORRECT
from verl_mapo.report.load import Rollout, RunData
from verl_mapo.settings import ConfigError, select

matplotlib.use("Agg")
import matplotlib.pyplot as plt

Result = dict[str, Any]
"""What is kept of a run, see :func:`reduced`."""

Results = dict[str, dict[int, Result]]
"""The results by arm and seed."""

CURVES = {
    "accuracy": "critic/score/mean",
    "tool rate": "rollout_visual/tool_rate",
    "valid calls": "rollout_visual/valid_call_rate",
    "entropy": "actor/entropy",
}
"""Name of a curve to the metric of a training step."""

COLUMNS = ("area", "accuracy", "Pass@4", "alignment", "crop hit rate", "tool rate")
"""The figures of a run that have a mean over the seeds, all of them shares but the alignment, which is a cosine."""


def mean_alignment(rollouts: list[Rollout]) -> float | None:
    """Mean over the rollouts with scored turns of the mean score of these; None without any."""
    scores = [[turn.score for turn in each.trajectory.visual_turns if turn.score is not None] for each in rollouts]
    return fmean(map(fmean, filter(None, scores))) if any(scores) else None


def hit_rate(rollouts: list[Rollout], targets: Targets) -> float | None:
    """Share of the rollouts with a crop whose last crop shows the target; None without any."""
    hits = [found for each in rollouts if (found := hit(each.trajectory, targets)) is not None]
    return fmean(hits) if hits else None


def reduced(run: RunData) -> Result:
    """What is kept of a run, as plain JSON types.

    ``figures`` has the figures of :data:`COLUMNS` and ``collapsed``; ``curves`` those of :data:`CURVES` and, from the
    records, ``alignment`` and ``crop hit rate``, each a value a step; ``questions`` the share of right rollouts of each
    held-out question, by its identity.
    """
    targets = target_boxes(Path(run.config.data.train_files), Path(run.config.data.val_files))
    validated = run.rollouts(max(run.files["val"]), "val")
    steps = [run.rollouts(step, "train") for step in sorted(run.files["train"])]
    curves = {name: run.series(metric)[1] for name, metric in CURVES.items()}
    curves["alignment"] = [mean_alignment(rollouts) for rollouts in steps]
    curves["crop hit rate"] = [hit_rate(rollouts, targets) for rollouts in steps]
    right: dict[str, list[bool]] = defaultdict(list)
    for rollout in validated:
        right[rollout.question_id].append(rollout.outcome >= CORRECT)
    filtered = bool(select(run.config, "algorithm.filter_groups.enable", False))
    lowest = min([*curves["tool rate"], *curves["valid calls"]])
    figures = {
        **held_out(validated),
        "area": None if filtered else fmean(curves["accuracy"]),
        "alignment": mean_alignment(validated),
        "crop hit rate": hit_rate(validated, targets),
    }
    return {
        "steps": len(steps),
        "figures": {**_rounded(figures), "collapsed": lowest < 0.5},
        "curves": {name: [_round(value) for value in values] for name, values in curves.items()},
        "questions": _rounded({name: fmean(rights) for name, rights in sorted(right.items())}),
    }


def _rounded(values: dict[str, float | None]) -> dict[str, float | None]:
    return {name: _round(value) for name, value in values.items()}


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def read_results(folder: Path) -> Results:
    """The results in a folder, from the files ``ARM-SEED.json``.

    Raises:
        ConfigError: a file is no result, or the runs have different numbers of steps.
    """
    results: Results = defaultdict(dict)
    for file in sorted(folder.glob("*-*.json")):
        arm, seed = file.stem.rsplit("-", 1)
        if not seed.isdecimal():
            raise ConfigError(f"{file} is refused: the name of a result is ARM-SEED.json, such as grpo-1.json.")
        results[arm][int(seed)] = read_result(file, ("steps", "figures", "curves", "questions"))
    steps = sorted({one["steps"] for runs in results.values() for one in runs.values()})
    if len(steps) > 1:
        raise ConfigError(
            f"{folder} holds runs of {' and '.join(map(str, steps))} steps, which cannot be compared: move those of "
            "all lengths but one to another folder."
        )
    return dict(results)


def by_question(arm: dict[int, Result], base: dict[int, Result]) -> np.ndarray:
    """(seeds, questions), the difference of accuracy of an arm and the base, for the seeds of both.

    A run is validated on a part of the held-out questions, which its seed chooses; NaN where a run of a seed lacks one.
    """
    pairs = [(arm[seed]["questions"], base[seed]["questions"]) for seed in sorted(arm.keys() & base.keys())]
    names = sorted(set().union(*(one.keys() & other.keys() for one, other in pairs)))
    nothing = float("nan")
    return np.array([[one.get(name, nothing) - other.get(name, nothing) for name in names] for one, other in pairs])


def interval_over_questions(differences: np.ndarray, draws: int = 2000, seed: int = 0) -> tuple[float, float]:
    """95 % bootstrap interval over questions of the mean difference, with the seeds as they are.

    Args:
        differences: (seeds, questions), NaN where a seed lacks a question.
        draws: number of draws of the questions.
        seed: of the draws.

    Returns:
        its ends; NaN without any question.
    """
    if not differences.size:
        return float("nan"), float("nan")
    questions = differences.shape[1]
    times = np.random.default_rng(seed).multinomial(questions, np.full(questions, 1 / questions), size=draws)
    asked = ~np.isnan(differences)
    of_seed = times @ np.where(asked, differences, 0).T / (times @ asked.T)
    low, high = np.quantile(of_seed.mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


def differences(results: Results, arm: str, base: str, column: str) -> list[float]:
    """The differences of a figure between an arm and the base, for the seeds of both that have it."""
    shared = sorted(results[arm].keys() & results[base].keys())
    pairs = [(results[arm][seed]["figures"][column], results[base][seed]["figures"][column]) for seed in shared]
    return [one - other for one, other in pairs if one is not None and other is not None]


def as_table(results: Results, base: str) -> str:
    """The markdown table, in percent: a row for each arm; the base comes first."""
    head = ["arm", "seeds", *COLUMNS, "collapsed", f"area - {base}", f"accuracy - {base}", "of it over questions"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for arm in dict.fromkeys([base, *results]):
        figures = [one["figures"] for one in results[arm].values()]
        cells = [arm, str(len(figures)), *(shown([one[name] for one in figures]) for name in COLUMNS)]
        cells.append(f"{sum(one['collapsed'] for one in figures)} of {len(figures)}")
        if arm == base:
            cells += ["", "", ""]
        else:
            gains = [shown(differences(results, arm, base, name), signed=True) for name in ("area", "accuracy")]
            pairs = by_question(results[arm], results[base])
            low, high = interval_over_questions(pairs)
            cells += [*gains, f"{100 * low:+.1f} to {100 * high:+.1f}" if pairs.size else ""]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(results: Results, base: str, file: Path, window: int = 3) -> None:
    """Draw accuracy and valid calls in training by step, held-out accuracy by arm, and its difference from the base.

    The accuracy in training is drawn of arms with an area alone.

    Args:
        results: the results.
        base: the arm that the others are compared with.
        file: file of the figure.
        window: number of steps of the moving average.
    """
    figure, panels = plt.subplots(1, 4, figsize=(18, 4.5), layout="constrained")
    arms = list(dict.fromkeys([base, *results]))
    for number, arm in enumerate(arms):
        runs, color = list(results[arm].values()), f"C{number}"
        if not any(one["figures"]["area"] is None for one in runs):
            _draw_curves(panels[0], [one["curves"]["accuracy"] for one in runs], color, arm, window)
        _draw_curves(panels[1], [one["curves"]["valid calls"] for one in runs], color, arm, window)
        accuracies = [one["figures"]["accuracy"] for one in runs]
        panels[2].plot([number] * len(runs), accuracies, "o", color=color, alpha=0.4)
        panels[2].plot([number - 0.3, number + 0.3], [fmean(accuracies)] * 2, color=color)
        if arm != base and (gains := differences(results, arm, base, "accuracy")):
            half, pairs = spread(gains), by_question(results[arm], results[base])
            panels[3].errorbar(number - 0.1, fmean(gains), half, fmt="o", color=color, capsize=3)
            low, high = interval_over_questions(pairs)
            panels[3].vlines(number + 0.1, low, high, color=color, linewidth=4, alpha=0.4)
    panels[0].set(xlabel="step", ylabel=f"training accuracy, mean of {window} steps")
    figure.legend(*panels[1].get_legend_handles_labels(), loc="outside lower center", ncols=len(arms))
    panels[1].set(xlabel="step", ylabel=f"calls that could be executed, mean of {window} steps")
    panels[2].set(ylabel="held-out accuracy after training")
    panels[3].set(ylabel=f"difference from {base}", title="95 % over seeds (thin), over questions (thick)")
    panels[3].axhline(0, color="grey", linewidth=0.8)
    for panel in panels[2:]:
        panel.set(xlim=(-0.5, len(arms) - 0.5))
        panel.set_xticks(range(len(arms)), arms, rotation=30)
    figure.savefig(file, dpi=120)
    plt.close(figure)


def _draw_curves(panel: plt.Axes, curves: list[list[float]], color: str, arm: str, window: int) -> None:
    length = min(map(len, curves))
    smooth = [[fmean(curve[max(0, i - window + 1) : i + 1]) for i in range(length)] for curve in curves]
    for curve in smooth:
        panel.plot(range(1, length + 1), curve, color=color, alpha=0.25, linewidth=0.8)
    panel.plot(range(1, length + 1), [fmean(values) for values in zip(*smooth, strict=True)], color=color, label=arm)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("reduce", help="keep what the study needs of a run")
    one.add_argument("run", type=Path)
    one.add_argument("--out", type=Path, required=True)
    every = commands.add_parser("show", help="the table and the figure of all runs")
    every.add_argument("folder", type=Path)
    every.add_argument("--base", default="grpo", help="the arm that the others are compared with; the first row")
    every.add_argument("--figure", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "reduce":
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(reduced(RunData.open(arguments.run))) + "\n")
        return
    try:
        results = read_results(arguments.folder)
    except ConfigError as error:
        parser.error(str(error))
    if arguments.base not in results:
        parser.error(f"{arguments.folder} has no run of --base {arguments.base}: {', '.join(results) or 'none yet'}")
    print(as_table(results, arguments.base))
    if arguments.figure:
        draw(results, arguments.base, arguments.figure)


if __name__ == "__main__":
    main()
