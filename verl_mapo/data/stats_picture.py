# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The figures of a converted set as histograms in one PNG."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from verl_mapo.charts import BLUE, GREEN, GREY, ORANGE, VERMILION
from verl_mapo.data.stats import SMALL_SIDE, DataStats
from verl_mapo.report.figure_style import STYLE
from verl_mapo.rollout.images import ProcessorResize

_COLOURS = (BLUE, ORANGE, GREEN)
_BINS = 40
_WIDE = 20
"""Quotient of the largest and the smallest value above which the axis is logarithmic."""

_MOST_BARS = 10
"""Number of data sources or styles that have a bar of their own."""


def write_picture(stats: DataStats, out: Path) -> None:
    """Write the histograms: longest sides, image tokens, prompts, and the numbers of rows by source and style.

    Args:
        stats: figures of the set.
        out: the PNG to write.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(13.5, 7.2), dpi=120, layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12)
        title = f"{stats.place.name}: {stats.rows:,} rows, {len(stats.pixels):,} images"
        figure.suptitle(title, fontsize=14, weight="bold", parse_math=False)
        places = iter(figure.subplots(2, 3).flat)
        _sides(next(places), stats)
        _pixels(next(places), stats)
        _tokens(next(places), stats)
        _prompts(next(places), stats)
        _bars(next(places), "Rows by data source", stats.sources)
        _bars(next(places), "Rows by check of the answer", stats.styles)
        figure.savefig(out, metadata={"Software": None})


def _sides(axes: Axes, stats: DataStats) -> None:
    share = stats.small_share
    axes.set_title("Longest side of images" + ("" if share is None else f": {share:.0%} under {SMALL_SIDE} px"))
    if _histogram(axes, [stats.sides], [BLUE]):
        axes.axvline(SMALL_SIDE, color=GREY, linewidth=1.2, linestyle=":")
        axes.text(
            SMALL_SIDE, 0.97, " a zoom reveals more →", transform=axes.get_xaxis_transform(), va="top", color=GREY
        )
    axes.set_xlabel("pixels")


def _pixels(axes: Axes, stats: DataStats) -> None:
    axes.set_title("Pixels of images, as stored")
    _histogram(axes, [np.asarray(stats.pixels) / 1e6], [BLUE])
    axes.set_xlabel("megapixels")


def _tokens(axes: Axes, stats: DataStats) -> None:
    axes.set_title("Tokens of images, as the model sees them")
    _by_family(axes, stats, [family.image_tokens for family in stats.families])
    axes.set_xlabel("tokens an image")


def _prompts(axes: Axes, stats: DataStats) -> None:
    whole = any(family.prompts for family in stats.families)
    axes.set_title("Tokens of prompts" if whole else "Image tokens of rows (prompts need --model)")
    lengths = [family.prompts if whole else family.row_tokens for family in stats.families]
    if _by_family(axes, stats, lengths):
        axes.axvline(stats.budget, color=VERMILION, linewidth=1.2, linestyle="--")
        _note(axes, stats.budget, f" budget {stats.budget:,}", VERMILION)
    axes.set_xlabel("tokens a row")


def _note(axes: Axes, place: float, text: str, colour: str) -> None:
    """A text at the upper end of a vertical line."""
    axes.text(place, 0.97, text, transform=axes.get_xaxis_transform(), va="top", color=colour)


def _by_family(axes: Axes, stats: DataStats, values: Sequence[Sequence[int]]) -> bool:
    """A histogram for each family that the run's limits allow; families that resize alike share one."""
    alike: dict[ProcessorResize, tuple[list[str], Sequence[int]]] = {}
    for family, each in zip(stats.families, values, strict=True):
        if family.resize is not None:
            alike.setdefault(family.resize, ([], each))[0].append(family.name)
    names = [" and ".join(names) for names, _ in alike.values()]
    return _histogram(axes, [each for _, each in alike.values()], _COLOURS[: len(alike)], names)


def _histogram(
    axes: Axes, values: Sequence[Sequence[float]], colours: Sequence[str], names: Sequence[str] = ()
) -> bool:
    """Histograms with the same bins, drawn over each other; False where there is nothing to draw."""
    found = [np.asarray(each) for each in values if len(each)]
    if not found:
        axes.text(0.5, 0.5, "no images", transform=axes.transAxes, ha="center", color=GREY)
        return False
    together = np.maximum(np.concatenate(found), 1e-9)
    least, most = together.min(), together.max()
    scaled = most > _WIDE * least
    bins = np.geomspace(least, most, _BINS + 1) if scaled else np.histogram_bin_edges(together, bins=_BINS)
    axes.set_xscale("log" if scaled else "linear")
    for number, each in enumerate(found):
        name = names[number] if len(names) > 1 else None
        axes.hist(each, bins, color=colours[number], histtype="step", linewidth=1.6, label=name)
        axes.hist(each, bins, color=colours[number], alpha=0.18)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    ticks = (1, 2, 5) if most < 100 * least else (1,)
    axes.xaxis.set_major_locator(LogLocator(subs=ticks, numticks=9) if scaled else MaxNLocator(nbins=6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(bottom=0)
    if len(names) > 1:
        axes.legend(frameon=False, fontsize=8)
    return True


def _bars(axes: Axes, title: str, counts: Counter[str]) -> None:
    axes.set_title(title)
    shown = counts.most_common(_MOST_BARS)
    if len(counts) > len(shown):
        shown.append((f"{len(counts) - len(shown)} others", counts.total() - sum(count for _, count in shown)))
    names = [name if len(name) <= 28 else f"{name[:27]}…" for name, _ in shown]
    places = range(len(shown))
    axes.barh(places, [count for _, count in shown], height=0.6, color=BLUE, alpha=0.85)
    axes.set_ylim(-0.5, max(len(shown), 4) - 0.5)
    axes.set_yticks(places, names, parse_math=False)
    for place, (_, count) in enumerate(shown):
        axes.text(count, place, f" {count:,}", va="center", fontsize=8)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    axes.margins(x=0.15)
