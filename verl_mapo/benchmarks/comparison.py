# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Several runs on the same questions, compared with the first one: a table in three forms, and a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from verl_mapo.benchmarks.statistics import Comparison, Estimate, compare, interval
from verl_mapo.charts import BLUE, GREY
from verl_mapo.settings import ConfigError

Truths = Mapping[tuple[str, str], str]
"""The truth of each question by benchmark and id."""


@dataclass(frozen=True)
class Line:
    """One run on one benchmark.

    Attributes:
        benchmark, run: their names.
        questions: number of questions; the intervals may resample groups of them.
        accuracy: with its interval.
        comparison: with the first run; None for the first one itself.
    """

    benchmark: str
    run: str
    questions: int
    accuracy: Estimate
    comparison: Comparison | None


def compare_runs(runs: Mapping[str, pd.DataFrame]) -> list[Line]:
    """Compare runs question by question, each with the first.

    Args:
        runs: the verdicts by the name of the run, see :func:`verl_mapo.benchmarks.verdicts.read_verdicts`.

    Raises:
        ConfigError: two runs answered different questions.
    """
    (first, base), *_ = runs.items()
    for name, found in runs.items():
        check_same_questions(first, base["truth"].to_dict(), name, found["truth"].to_dict())
    lines = []
    for benchmark in base.index.unique("benchmark"):
        before = base.loc[[benchmark]]
        units = pd.factorize(before["group"])[0]
        for name, found in runs.items():
            now = found["right"].reindex(before.index).to_numpy()
            versus = None if name == first else compare(before["right"].to_numpy(), now, units)
            lines.append(Line(benchmark, name, len(now), interval(now, units), versus))
    return lines


def check_same_questions(first: str, base: Truths, name: str, found: Truths) -> None:
    """Refuse to compare runs that answered different questions.

    Args:
        first, name: what the message calls the two runs.
        base, found: the truth of each of their questions by benchmark and id.

    Raises:
        ConfigError: a question is in one of them alone, or has another truth in the second, such as the letter of its
            right option after another shuffle.
    """
    gone, new = sorted(base.keys() - found.keys()), sorted(found.keys() - base.keys())
    other = [place for place in base if base[place] != found.get(place)]
    if gone or new:
        counts = f"{len(gone)} only in the first, {len(new)} only in the second"
    elif other:
        counts = f"{len(other)} of {len(base)} have another right answer in the second"
    else:
        return
    example = " ".join([*gone, *new, *other][0])
    raise ConfigError(
        f"{first} and {name} answered different questions: {counts}, such as {example}. "
        "Evaluate both on the same files."
    )


def names_of_runs(files: Sequence[Path]) -> list[str]:
    """A name for each file of answers: its folder, with as many folders above it as tell the runs apart."""
    places = [(file.parent if file.name == "answers.jsonl" else file.with_suffix("")).resolve() for file in files]
    for depth in range(1, max(len(place.parts) for place in places)):
        names = ["/".join(place.parts[-depth:]) for place in places]
        if len(set(names)) == len(set(places)):
            break
    return names


def table(lines: Sequence[Line]) -> pd.DataFrame:
    """One row for each run on each benchmark; shares in percent."""
    rows = []
    for line in lines:
        row = {"benchmark": line.benchmark, "run": line.run, "questions": line.questions}
        row |= {"accuracy": percent(line.accuracy.value), "95 % interval": _ends(line.accuracy)}
        found = line.comparison
        row |= {
            "difference": percent(found.difference.value, "+") if found else "",
            "of the difference": _ends(found.difference) if found else "",
            "better / worse": f"{found.better} / {found.worse}" if found else "",
            "McNemar p": f"{found.mcnemar:.3g}" if found and found.mcnemar is not None else "",
            "permutation p": f"{found.permutation:.3g}" if found else "",
        }
        rows.append(row)
    return pd.DataFrame(rows)


def percent(share: float, sign: str = "") -> str:
    """A share in percent, with one digit."""
    return f"{100 * share:{sign}.1f}"


def _ends(estimate: Estimate) -> str:
    return f"{percent(estimate.low)} to {percent(estimate.high)}"


def markdown(found: pd.DataFrame) -> str:
    """A table in Markdown."""
    rows = [list(found.columns), ["---"] * len(found.columns), *found.astype(str).values.tolist()]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows)


def write_tables(lines: Sequence[Line], folder: Path) -> list[Path]:
    """Write ``comparison.md``, ``comparison.csv``, ``comparison.tex`` and ``comparison.png``.

    Args:
        lines: see :func:`compare_runs`.
        folder: made if absent.

    Returns:
        the files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found, files = table(lines), [folder / f"comparison.{ending}" for ending in ("md", "csv", "tex", "png")]
    files[0].write_text(markdown(found) + "\n", encoding="utf-8")
    found.to_csv(files[1], index=False)
    columns = "ll" + "r" * (len(found.columns) - 2)
    files[2].write_text(found.to_latex(index=False, column_format=columns, escape=True), encoding="utf-8")
    _draw(lines, files[3])
    return files


def _draw(lines: Sequence[Line], file: Path) -> None:
    """Accuracies with their intervals; the first run is grey."""
    import matplotlib
    from matplotlib.figure import Figure

    from verl_mapo.report.figure_style import STYLE

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.5, 0.6 + 0.28 * len(lines)), layout="constrained")
        axes = figure.add_subplot()
        for place, line in enumerate(lines):
            found, colour = line.accuracy, BLUE if line.comparison else GREY
            axes.plot([100 * found.low, 100 * found.high], [place, place], color=colour, linewidth=1.5)
            axes.plot([100 * found.value], [place], "o", color=colour, markersize=4)
        axes.set_yticks(range(len(lines)), [f"{line.benchmark}: {line.run}" for line in lines])
        axes.set_ylim(len(lines) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("accuracy in percent, with its 95 % interval over questions")
        figure.savefig(file, dpi=150)
