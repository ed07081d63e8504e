# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""When is MAPO's gradient better than GRPO's? The gradient lens at several points of the toy, under several scorers.

    python scripts/dials.py measure RUN --scenes FILE.parquet --letters N --start STEP --out FILE.json
    python scripts/dials.py show FOLDER [--figure FILE.png]

``measure`` reads the gradients and the records of a run of ``verl-mapo lens``. The rollouts are not made again: a
scorer enters the lens only through the scores of the turns, so the collected rollouts are scored again, once for each
of :data:`SCORERS`. A call that was refused without asking the scorer keeps its score.

``show`` reads the JSON files of all points: a table, the points at which MAPO hurts, and a figure. Intervals are 95 %
bootstrap intervals over questions (docs/lens.md).
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import matplotlib
import torch
from scipy.stats import spearmanr
from study import read_result
from torch import Tensor
from toy_facts import Targets, hit, shows, target_boxes, target_of

from verl_mapo.columns import CORRECT, SCORED
from verl_mapo.lens.collection import Collection
from verl_mapo.lens.command import lens_folder
from verl_mapo.lens.comparison import Comparison, Plan, compare
from verl_mapo.lens.estimators import Estimator, table
from verl_mapo.report.load import Rollout, RunData
from verl_mapo.rollout.trajectory import Turn
from verl_mapo.settings import ConfigError

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import NullLocator

Scorer = Callable[[Turn, Rollout], float]
"""The score of a turn with a crop, given its rollout."""

SCORERS = ("clean", "oracle", "noisy", "constant", "adversarial")
"""The collected scores; 1 if the crop shows the target and 0 otherwise; the collected scores plus normal noise with
their own standard deviation; 0.5 for every crop; the crop's share of the image's area."""

MAIN = "mapo beta=0.4"
ROWS = ("grpo", MAIN, f"{MAIN}, shuffled", "mapo beta=1", "mapo beta=1, shuffled", "mapo gated")
"""The estimators of the lens that are compared; the first is the base."""

FIGURES = ("cosine", "gain", "snr", "worth", "bias_cosine")
"""The fields of :class:`verl_mapo.lens.comparison.Comparison` that are kept."""


def records_of(run: Path, collection: Collection) -> list[Rollout]:
    """The records of the collected rollouts, in the order of the collection.

    Args:
        run: the folder of the run that collected.
        collection: its rollouts.

    Raises:
        ConfigError: the records are not those of the collected rollouts.
    """
    judged = [
        each
        for each in RunData.open(run).training_rollouts()
        if each.known_outcome is not None and not each.is_continuation
    ]
    number = Counter((each.step, each.uid) for each in judged)
    wanted = int(torch.bincount(collection.question)[0])
    kept = [each for each in judged if number[each.step, each.uid] == wanted]
    if [each.outcome for each in kept] != collection.outcome.tolist():
        raise ConfigError(
            f"The records in {run / 'trajectories'} are not those of the {len(collection.outcome)} collected rollouts: "
            "collect again with records.share=1 and without other runs in the same folder."
        )
    return kept


def scorer(kind: str, collection: Collection, targets: Targets, seed: int = 0) -> Scorer:
    """A scorer of :data:`SCORERS`.

    Args:
        kind: its name.
        collection: the collected scores, whose spread is that of the noise.
        targets: the target of each question.
        seed: of the noise.
    """
    random = torch.Generator().manual_seed(seed)
    spread = collection.turn_scores[collection.turn_status == SCORED].double().std()

    def oracle(turn: Turn, rollout: Rollout) -> float:
        target = target_of(rollout.trajectory, targets)
        return float(target is not None and shows(turn, target))

    def area(turn: Turn, rollout: Rollout) -> float:
        left, top, right, bottom = turn.box_executed
        width, height = rollout.trajectory.image_sizes[turn.view.image]
        return (right - left) * (bottom - top) / (width * height)

    kinds: dict[str, Scorer] = {
        "clean": lambda turn, _: turn.score,
        "oracle": oracle,
        "noisy": lambda turn, _: turn.score + float(spread * torch.randn((), generator=random, dtype=torch.float64)),
        "constant": lambda turn, _: 0.5,
        "adversarial": area,
    }
    return kinds[kind]


def rescored(collection: Collection, records: list[Rollout], score: Scorer) -> Collection:
    """The collection with other scores of the turns that have a crop and were scored.

    Args:
        collection: N rollouts.
        records: their N records, in the same order.
        score: the other scorer.
    """
    scores = collection.turn_scores.clone()
    for row, record in enumerate(records):
        for number, turn in enumerate(record.trajectory.visual_turns[: scores.shape[1]]):
            if turn.box_executed is not None and turn.score is not None and not turn.faults:
                scores[row, number] = score(turn, record)
    changed = replace(collection, turn_scores=scores)
    # the inner products do not depend on the scores, and take most of the time
    changed.__dict__["products"] = collection.products
    return changed


def estimators() -> list[Estimator]:
    """The estimators of :data:`ROWS`, in this order."""
    known = {each.name: each for each in table((0.4, 1.0))}
    return [known[name] for name in ROWS]


def facts(records: list[Rollout], targets: Targets) -> dict[str, float]:
    """What the rollouts of a point are like; shares.

    ``right without the target`` is the measured guess rate: the accuracy of the rollouts whose crop missed.
    """
    hits = [hit(each.trajectory, targets) for each in records]
    right = [each.outcome >= CORRECT for each in records]

    def share(chosen: list[bool]) -> float:
        return fmean(chosen) if chosen else float("nan")

    return {
        "accuracy": share(right),
        "tool rate": share([each.trajectory.called for each in records]),
        "crop hit rate": share([each for each in hits if each is not None]),
        "right with the target": share([one for one, found in zip(right, hits, strict=True) if found]),
        "right without the target": share([one for one, found in zip(right, hits, strict=True) if found is False]),
    }


def measured(run: Path, scenes: Path, plan: Plan) -> dict[str, Any]:
    """The figures of one point, as plain JSON types: ``rollouts``, ``plan``, ``facts``, ``scorers``."""
    collection = Collection.load(lens_folder(run))
    records, targets = records_of(run, collection), target_boxes(scenes)
    found = {}
    for kind in SCORERS:
        changed = rescored(collection, records, scorer(kind, collection, targets))
        rows = compare(changed, estimators(), plan)
        found[kind] = {"score ~ outcome": _rank_correlation(changed), "rows": {row.name: _plain(row) for row in rows}}
    return {
        "rollouts": len(records),
        "plan": {"questions": plan.questions, "rollouts": plan.rollouts, "draws": plan.draws, "seed": plan.seed},
        "facts": facts(records, targets),
        "scorers": found,
    }


def _rank_correlation(collection: Collection) -> float | None:
    """Spearman's correlation of the first score of a rollout with its outcome; None for a constant."""
    scored = collection.turn_status[:, 0] == SCORED
    scores, outcome = collection.turn_scores[scored, 0], collection.outcome[scored]
    return float(spearmanr(scores, outcome).statistic) if _varies(scores) and _varies(outcome) else None


def _varies(values: Tensor) -> bool:
    return len(values) > 1 and bool((values != values[0]).any())


def _plain(row: Comparison) -> dict[str, list[float]]:
    return {name: [round(value, 4) for value in getattr(row, name)] for name in FIGURES}


def verdict(worth: list[float]) -> str:
    """What an interval of the worth says: ``helps``, ``hurts``, or ``open`` where it holds 1."""
    _, low, high = worth
    return "helps" if low > 1 else "hurts" if high < 1 else "open"


def read_points(folder: Path) -> list[dict[str, Any]]:
    """The points of a folder, by start and number of letters.

    Raises:
        ConfigError: a file is no point.
    """
    names = ("letters", "start", "facts", "scorers")
    points = [read_result(file, names) for file in sorted(folder.glob("*.json"))]
    return sorted(points, key=lambda point: (point["start"], -point["letters"]))


def grpo_snr(point: dict[str, Any]) -> list[float]:
    """The SNR of GRPO at a point, and its interval; it is the same under every scorer."""
    return point["scorers"]["clean"]["rows"]["grpo"]["snr"]


def as_table(points: list[dict[str, Any]]) -> str:
    """The markdown table: worth of MAPO and its placebo under each scorer, a row for each point and scorer.

    A worth is a ratio to the SNR of GRPO, and says nothing where the interval of that SNR reaches 0.
    """
    shown = (MAIN, f"{MAIN}, shuffled", "mapo beta=1", "mapo gated")
    head = ["guess", "start", "accuracy", "right without the target", "SNR of grpo", "scorer", "score ~ outcome"]
    head += [*shown, "verdict"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for point in points:
        known, (snr, low, high) = point["facts"], grpo_snr(point)
        for kind, found in point["scorers"].items():
            worths = [found["rows"][name]["worth"] for name in shown]
            relation = found["score ~ outcome"]
            cells = [
                f"{1 / point['letters']:.0%}",
                f"step {point['start']}",
                *(f"{known[name]:.0%}" for name in ("accuracy", "right without the target")),
                f"{snr:.2f} ({low:.2f} to {high:.2f})",
                kind,
                "" if relation is None else f"{relation:.2f}",
                *(f"{value:.2f} ({below:.2f} to {above:.2f})" for value, below, above in worths),
                verdict(worths[0]),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def hurting(points: list[dict[str, Any]]) -> list[str]:
    """A sentence for each case in which an estimator that is no placebo has a worth below 1, interval included."""
    return [
        f"{row} hurts with {point['letters']} letters after {point['start']} steps under the scorer {kind}: "
        f"{worth[0]:.2f} ({worth[1]:.2f} to {worth[2]:.2f})."
        for point in points
        for kind, found in point["scorers"].items()
        for row, worth in ((row, found["rows"][row]["worth"]) for row in ROWS[1:] if "shuffled" not in row)
        if verdict(worth) == "hurts"
    ]


def draw(points: list[dict[str, Any]], file: Path) -> None:
    """Draw MAPO's worth against the guess rate, a panel for each start and a line for each scorer, and the placebo.

    Points at which the interval of GRPO's SNR reaches 0 are left out.
    """
    starts = sorted({point["start"] for point in points})
    points = [point for point in points if grpo_snr(point)[1] > 0]
    size = (4 * len(starts) + 2, 4.5)
    figure, panels = plt.subplots(1, len(starts), figsize=size, sharex=True, sharey=True, squeeze=False)
    lines = [(kind, kind, MAIN) for kind in SCORERS] + [("placebo: shuffled", "clean", f"{MAIN}, shuffled")]
    for panel, start in zip(panels[0], starts, strict=True):
        panel.axhline(1, color="grey", linewidth=0.8)
        panel.set(title=f"policy after {start} steps of GRPO", xlabel="guess rate, %")
        here = [point for point in points if point["start"] == start]
        if not here:
            continue
        for number, (label, kind, row) in enumerate(lines):
            worths = [point["scorers"][kind]["rows"][row]["worth"] for point in here]
            at = [100 / point["letters"] + 0.8 * (number - len(lines) / 2) for point in here]
            value, low, high = zip(*worths, strict=True)
            panel.vlines(at, low, high, color=f"C{number}", alpha=0.5)
            panel.plot(at, value, "o-", color=f"C{number}", label=label, markersize=4, linewidth=1)
    panels[0][0].set(ylabel="rollouts of GRPO that one of MAPO is worth", yscale="log", yticks=(0.5, 1, 2, 4, 8))
    panels[0][0].set_xticks(sorted({round(100 / point["letters"]) for point in points}))
    panels[0][0].yaxis.set_major_formatter("{x:g}")
    panels[0][0].yaxis.set_minor_locator(NullLocator())
    panels[0][-1].legend(loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(file, dpi=120, bbox_inches="tight")
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("measure", help="measure one point")
    one.add_argument("run", type=Path, help="the folder that verl-mapo lens wrote to")
    one.add_argument("--scenes", type=Path, required=True, help="the parquet file of the questions")
    one.add_argument("--letters", type=int, required=True, help="number of letters; a guess is right once in so many")
    one.add_argument("--start", type=int, required=True, help="steps of GRPO that the policy was trained for")
    one.add_argument("--draws", type=int, default=200, help="draws of the bootstrap")
    one.add_argument("--out", type=Path, required=True)
    every = commands.add_parser("show", help="the table and the figure of all points")
    every.add_argument("folder", type=Path)
    every.add_argument("--figure", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "measure":
        point = {"letters": arguments.letters, "start": arguments.start}
        point |= measured(arguments.run, arguments.scenes, Plan(draws=arguments.draws))
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(point, indent=1) + "\n")
        return
    try:
        points = read_points(arguments.folder)
    except ConfigError as error:
        parser.error(str(error))
    if not points:
        parser.error(f"{arguments.folder} holds no JSON file: run scripts/dials.sh first")
    print(as_table(points), *hurting(points), sep="\n")
    if arguments.figure:
        draw(points, arguments.figure)


if __name__ == "__main__":
    main()
