# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Draws the learning curves: each panel as an SVG for the page, and all of them in one PNG."""

from __future__ import annotations

import io
import math
import warnings
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from verl_mapo.charts import GREY
from verl_mapo.report.figure_style import STYLE
from verl_mapo.report.series import DrawnPanel, Series

_SMOOTH_FROM = 30
"""A series with more steps than this is drawn with its running mean; a shorter series is drawn as it is."""


def panel_svg(panel: DrawnPanel) -> bytes:
    """One panel without its title, as SVG; the same bytes for the same numbers."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.4, 2.5), layout="constrained")
        _draw(figure.add_subplot(), panel)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return buffer.getvalue()


def write_curves(panels: list[DrawnPanel], title: str, out: Path) -> None:
    """Write all panels into one PNG, three in a row.

    Args:
        panels: may be empty.
        title: the title of the whole picture.
        out: the file to write.
    """
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # such a character of the title is drawn as a box
        rows = max(math.ceil(len(panels) / 3), 1)
        figure = Figure(figsize=(13.5, 0.6 + 2.9 * rows), dpi=120, layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12)
        figure.suptitle(title, fontsize=14, weight="bold", parse_math=False)
        if not panels:
            figure.text(0.5, 0.45, "No metrics were logged.", ha="center")
        for number, panel in enumerate(panels, 1):
            axes = figure.add_subplot(rows, 3, number)
            axes.set_title(panel.title, loc="left", pad=22)
            _draw(axes, panel)
        figure.savefig(out, metadata={"Software": None})


def share_label(share: float) -> str:
    """A share at the tick of an axis, in percent and with three digits at most."""
    return f"{100 * share:.3g}%"


def smoothing(panels: list[DrawnPanel]) -> int:
    """Steps in the window of the longest running mean that is drawn; 0 where no series is smoothed."""
    lengths = [len(s.steps) for panel in panels for s in panel.series if not s.held_out and not panel.stacked]
    longest = max(lengths, default=0)
    return _window(longest) if longest > _SMOOTH_FROM else 0


def _window(steps: int) -> int:
    return 2 * max(steps // 40, 1) + 1


def _draw(axes: Axes, panel: DrawnPanel) -> None:
    if panel.stacked:
        _draw_stack(axes, panel.series)
    else:
        for series in panel.series:
            _draw_line(axes, series)
        if panel.limit is not None:
            axes.axhline(panel.limit, color=GREY, linewidth=1, linestyle=":", label="alarm")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axes.set_xlabel("step", loc="right", labelpad=1)
    axes.margins(x=0.02)
    steps = {step for series in panel.series for step in series.steps}
    if len(steps) == 1:
        axes.set_xlim(min(steps) - 1, min(steps) + 1)
    if panel.from_zero:
        axes.set_ylim(0, 1 if panel.stacked else _top(panel))
    if panel.share:
        axes.yaxis.set_major_formatter(lambda share, _: share_label(share))
    if panel.stacked or len(axes.get_legend_handles_labels()[0]) > 1:
        shape = {"ncols": 3 if panel.stacked else 4, "handlelength": 1.4, "columnspacing": 1.2, "borderpad": 0.2}
        axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), frameon=False, fontsize=8, **shape)


def _top(panel: DrawnPanel) -> float:
    highest = max(*(max(series.values) for series in panel.series), panel.limit or 0.0, 1e-3)
    return min(1.15 * highest, 1.04) if panel.share else 1.15 * highest


def _draw_line(axes: Axes, series: Series) -> None:
    if series.held_out:
        line = {"marker": "o", "markersize": 5, "markeredgecolor": "white", "linewidth": 1.6}
        axes.plot(series.steps, series.values, color=series.colour, label=series.name, zorder=3, **line)
        return
    marker = "o" if len(series.steps) == 1 else ""
    if len(series.steps) <= _SMOOTH_FROM:
        axes.plot(series.steps, series.values, color=series.colour, label=series.name, linewidth=1.6, marker=marker)
        return
    axes.plot(series.steps, series.values, color=series.colour, linewidth=0.7, alpha=0.35)
    axes.plot(series.steps, running_mean(series.values), color=series.colour, label=series.name, linewidth=1.8)


def running_mean(values: list[float]) -> list[float]:
    """Centred mean over a window that is longer for longer series; the window is cut off at both ends."""
    half = _window(len(values)) // 2
    windows = (values[max(place - half, 0) : place + half + 1] for place in range(len(values)))
    return [sum(window) / len(window) for window in windows]


def _draw_stack(axes: Axes, series: list[Series]) -> None:
    steps: list[float] = list(series[0].steps)
    rows = [line.values for line in series]
    if len(steps) == 1:
        steps, rows = [steps[0] - 0.5, steps[0] + 0.5], [row * 2 for row in rows]
    colours, names = [line.colour for line in series], [line.name for line in series]
    axes.stackplot(steps, rows, colors=colours, labels=names, edgecolor="white", linewidth=0.25)
