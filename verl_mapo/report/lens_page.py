# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Writes what the lens measured: ``lens.html``, with four figures, and ``lens.json``."""

from __future__ import annotations

import io
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Plot

from verl_mapo import names
from verl_mapo.lens.command import Measured
from verl_mapo.lens.comparison import Comparison
from verl_mapo.lens.sketch import cosine_error
from verl_mapo.report import pages
from verl_mapo.report.figure_style import STYLE
from verl_mapo.run_folder import write_whole

TEMPLATE = "lens.html.j2"


def write_page(measured: Measured, folder: Path) -> Path:
    """Write page and figures of a measurement into a folder.

    Returns:
        the page.
    """
    values = {
        "manifest": measured.collection.manifest,
        "plan": asdict(measured.plan),
        "table": [asdict(row) for row in measured.table],
        **{
            name: {value: [asdict(row) for row in rows] for value, rows in getattr(measured, name).items()}
            for name in ("by_batch", "by_group", "by_discount")
        },
        "left_out": measured.left_out,
        "steps": measured.steps and asdict(measured.steps),
        "sources": measured.sources,
    }
    write_whole(folder / "lens.json", json.dumps(_without_nan(values), indent=1, allow_nan=False))
    collection = measured.collection
    context = {
        "measured": measured,
        "rollouts": len(collection.outcome),
        "questions": int(collection.question.max()) + 1,
        "accuracy": float((collection.outcome > 0).float().mean()),
        "buckets": collection.sketches.shape[1],
        "error": cosine_error(collection.sketches.shape[1]),
        "by_batch": _svg(_by_size(measured.by_batch, "cosine", "questions of a batch")),
        "by_group": _svg(_by_size(measured.by_group, "snr", "rollouts of a question")),
        "by_discount": measured.by_discount
        and _svg(_by_size(measured.by_discount, "snr", "lambda, the weight of a turn after another")),
        "by_beta": _svg(_snr_by_beta(measured.table)),
    }
    page = folder / "lens.html"
    pages.write_page(TEMPLATE, context, page)
    return page


def _without_nan(value: Any) -> Any:
    """A value of plain types with None for every number that is not measured, which JSON has no NaN for."""
    if isinstance(value, dict):
        return {name: _without_nan(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [*map(_without_nan, value)]
    return None if isinstance(value, float) and math.isnan(value) else value


LABELS = {"cosine": "cosine with the gradient of accuracy", "snr": "signal-to-noise ratio"}


def _by_size(found: dict[int, list[Comparison]] | dict[float, list[Comparison]], figure: str, label: str) -> Plot:
    """A figure of the estimators against what their batches, or MAPO, were varied by; powers of 2 on a log axis."""
    plot, axes = _plot()
    sizes = sorted(found)
    for row, style in zip(range(len(found[sizes[0]])), ("o-", "s-", "^:"), strict=False):
        each = [getattr(found[size][row], figure) for size in sizes]
        (line,) = axes.plot(sizes, [one.value for one in each], style, label=found[sizes[0]][row].name)
        axes.fill_between(
            sizes, [one.low for one in each], [one.high for one in each], color=line.get_color(), alpha=0.12
        )
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()
    axes.set_xlabel(label)
    axes.set_ylabel(LABELS[figure])
    axes.legend(frameon=False)
    return plot


def _snr_by_beta(rows: list[Comparison]) -> Plot:
    """Signal-to-noise ratio against MAPO's beta, with the placebo; beta 0 is the base."""
    plot, axes = _plot()
    endings = {names.MAPO: "", "placebo: shuffled scores": ", shuffled"}
    base = rows[0]
    for label, ending in endings.items():
        found = {0.0: base} | {
            float(row.name.removesuffix(ending).partition("beta=")[2]): row
            for row in rows
            if "beta=" in row.name and row.name.endswith("shuffled") == bool(ending) and "beta=0" != row.name[-6:]
        }
        betas = sorted(found)
        snr = [found[beta].snr for beta in betas]
        (line,) = axes.plot(betas, [each.value for each in snr], "^:" if ending else "o-", label=label)
        axes.vlines(betas, [each.low for each in snr], [each.high for each in snr], color=line.get_color(), alpha=0.6)
    axes.set_xlabel("beta, the weight of the alignment")
    axes.set_ylabel("signal-to-noise ratio")
    axes.legend(frameon=False)
    return plot


def _plot() -> tuple[Plot, Axes]:
    with matplotlib.rc_context(STYLE):
        plot = Plot(figsize=(5.6, 3.6), layout="constrained")
        return plot, plot.subplots()


def _svg(plot: Plot) -> str:
    text = io.StringIO()
    with matplotlib.rc_context(STYLE):
        plot.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]
