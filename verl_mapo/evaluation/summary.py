# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""What passes over benchmarks amount to: one table of all of them, the numbers of each benchmark, and a JSON file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd

from verl_mapo.benchmarks.answers import Result, judge_of
from verl_mapo.benchmarks.comparison import markdown, percent
from verl_mapo.benchmarks.statistics import Estimate
from verl_mapo.rewards.judge import PROMPT
from verl_mapo.run_folder import RunFolder, write_whole
from verl_mapo.versions import distribution_version

_VERSIONS = ("verl-mapo", "verl", "vllm", "torch", "transformers")


@dataclass(frozen=True)
class Line:
    """One benchmark in one pass.

    Attributes:
        benchmark: its name.
        done: name of the pass, such as ``tools``.
        questions: number of questions.
        greedy: whether the samples were greedy.
        result: what the answers amount to.
    """

    benchmark: str
    done: str
    questions: int
    greedy: bool
    result: Result


def overview(lines: Sequence[Line]) -> pd.DataFrame:
    """One row for each benchmark and pass; shares in percent."""
    return pd.DataFrame([_overview_row(line) for line in lines])


def _overview_row(line: Line) -> dict[str, str]:
    found, k = line.result, line.result.samples
    drawn = max(found.pass_at_k)
    return {
        "benchmark": line.benchmark,
        "pass": line.done,
        "questions": str(line.questions),
        "samples": f"{k}, greedy" if line.greedy else str(k),
        "ours, Avg@k": estimate(found.ours),
        "official, Avg@k": estimate(found.official),
        "Pass@k": percent(found.pass_at_k[drawn]) if k > 1 else "",
        "majority": percent(found.majority) if k > 1 else "",
        "tool rate": percent(found.tool_rate),
        "turns": _number(found.turns, 1),
        "tokens": _number(found.tokens, 0),
        "seconds": _number(found.seconds, 2),
        "unjudged, ours / official": _unjudged(found),
        "no answer": str(sum(found.failed.values())),
    }


def details(lines: Sequence[Line]) -> pd.DataFrame:
    """Every number of one benchmark, one column for each pass; shares in percent."""
    columns = {line.done: _numbers(line.result) for line in lines}
    rows = list(dict.fromkeys(name for found in columns.values() for name in found))
    return pd.DataFrame({"": rows, **{done: [found.get(name, "") for name in rows] for done, found in columns.items()}})


def _numbers(found: Result) -> dict[str, str]:
    numbers = {"accuracy, ours": estimate(found.ours), "accuracy, official": estimate(found.official)}
    if found.samples > 1:
        numbers |= {f"Pass@{k}": percent(share) for k, share in found.pass_at_k.items()}
        numbers["majority"] = percent(found.majority)
    numbers["tool rate"] = percent(found.tool_rate)
    numbers |= {"turns": _number(found.turns, 1), "tokens": _number(found.tokens, 0)}
    numbers["seconds"] = _number(found.seconds, 2)
    numbers["unjudged, ours / official"] = _unjudged(found)
    if found.iou is not None:
        numbers["box IoU"] = f"{found.iou:.3f}"
    numbers["answers on which the rules differ"] = str(found.differ)
    numbers |= {f"no answer: {reason}": str(count) for reason, count in found.failed.items()}
    return numbers | {name: str(one) if isinstance(one, int) else percent(one) for name, one in found.reported.items()}


def _unjudged(found: Result) -> str:
    """The numbers of replies that are there and have no verdict."""
    return " / ".join(str(count - sum(found.failed.values())) for count in found.unjudged)


def estimate(found: Estimate) -> str:
    """A share with its interval, in percent."""
    return f"{percent(found.value)} ({percent(found.low)} to {percent(found.high)})"


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def document(lines: Sequence[Line], notes: Sequence[str] = (), more: Sequence[tuple[str, pd.DataFrame]] = ()) -> str:
    """The tables as Markdown.

    Args:
        lines: all benchmarks in all passes.
        notes: sentences below the first table.
        more: further tables with their titles.
    """
    parts = ["# Benchmarks", markdown(overview(lines)), *notes]
    for title, table in more:
        parts += [f"## {title}", markdown(table)]
    for name in dict.fromkeys(line.benchmark for line in lines):
        parts += [f"## {name}", markdown(details([line for line in lines if line.benchmark == name]))]
    return "\n\n".join(parts) + "\n"


def write_summary(out: Path, lines: Sequence[Line], passes: Mapping[str, Path], text: str) -> None:
    """Write ``summary.json`` and ``summary.md``.

    Args:
        out: the folder.
        lines: all benchmarks in all passes.
        passes: the folder of each pass by its name.
        text: see :func:`document`.
    """
    summary = {
        "versions": {name: version for name in _VERSIONS if (version := distribution_version(name))},
        "passes": {name: _facts(RunFolder(folder)) for name, folder in passes.items()},
        "results": [
            {"benchmark": line.benchmark, "pass": line.done, "questions": line.questions, **asdict(line.result)}
            for line in lines
        ],
    }
    write_whole(out / "summary.json", json.dumps(summary, indent=1, ensure_ascii=False) + "\n")
    write_whole(out / "summary.md", text)


def _facts(folder: RunFolder) -> dict[str, Any]:
    """The settings of a pass, and the judge of its answers: prompt, model, temperature and version."""
    judge = judge_of(folder)
    if judge is not None:
        version = f"verl-mapo {metadata.version('verl-mapo')}"
        judge = {"model": judge["model"], "url": judge["url"], "temperature": 0, "prompt": PROMPT, "version": version}
    return {"settings": json.loads(folder.identity.read_text(encoding="utf-8")), "judge": judge}
