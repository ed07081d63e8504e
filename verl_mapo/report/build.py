# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Writes the report of a run: one self-contained HTML file, and the learning curves as a PNG."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from verl_mapo import names
from verl_mapo.report.cards import Card, card
from verl_mapo.report.curves import panel_svg, smoothing, write_curves
from verl_mapo.report.data_sources import source_table
from verl_mapo.report.findings import checked_alarms, headlines
from verl_mapo.report.load import RunData
from verl_mapo.report.pages import data_url, write_page
from verl_mapo.report.selection import Case, Chapter, chapters
from verl_mapo.report.series import drawn_panels
from verl_mapo.run_folder import RunFolder
from verl_mapo.settings import parse
from verl_mapo.training.records import RecordSettings

logger = logging.getLogger(__name__)

_SUMMARY = (
    names.MODEL_PATH,
    "actor_rollout_ref.actor.optim.lr",
    names.ROLLOUT_N,
    "actor_rollout_ref.rollout.temperature",
    names.MAX_ASSISTANT_TURNS,
    names.ADV_ESTIMATOR,
    names.TRAIN_FILES,
    names.TRAIN_BATCH_SIZE,
    names.VAL_FILES,
    names.TOTAL_STEPS,
    f"{names.VISUAL_TOOL_NODE}.",
)
"""Settings in the header of the report, besides those of the enabled methods; a name that ends in a dot is a node."""


def build_report(run: Path, out: Path | None = None, samples: int = 12, seed: int = 0) -> RunFolder:
    """Write the report of a run.

    Args:
        run: the run folder, see :class:`verl_mapo.run_folder.RunFolder`; parts of it may be missing.
        out: the folder for ``report.html`` and ``curves.png``; None for the run folder.
        samples: approximate number of trajectories to draw.
        seed: seed of the choice of trajectories; the same seed and run give the same files.

    Returns:
        The folder whose ``html`` and ``curves`` were written.

    Raises:
        ConfigError: ``run`` is not the folder of a run.
    """
    data, folder = RunData.open(run), RunFolder(out or run)
    folder.path.mkdir(parents=True, exist_ok=True)
    write_curves(drawn_panels(data), data.name, folder.curves)
    write_page("report.html.j2", _context(data, samples, seed), folder.html)
    logger.info("Wrote %s and %s.", folder.html, folder.curves)
    return folder


def _context(run: RunData, samples: int, seed: int) -> dict[str, Any]:
    panels, alarms = drawn_panels(run), checked_alarms(run)
    shown = _chapters(run, samples, seed)
    cards = [card for _, cases in shown for _, cards in cases for card in cards]
    settings = dict(_flat(OmegaConf.to_container(run.config)))
    in_header = (*_SUMMARY, *(f"{method.Settings.NODE}." for method in run.methods if method.Settings))
    return {
        "run": run,
        "facts": _facts(run),
        "summary": {name: value for name, value in settings.items() if _is_among(name, in_header)},
        "settings": settings,
        "raised": [alarm for alarm in alarms if alarm.sentence],
        "quiet": [alarm for alarm in alarms if not alarm.sentence],
        "headlines": headlines(run),
        "sources": source_table(run),
        "recorded": parse(RecordSettings, run.config).share,
        "panels": [(panel, data_url(panel_svg(panel), "image/svg+xml")) for panel in panels],
        "smoothing": smoothing(panels),
        "chapters": shown,
        "requested_drawn": any(
            box.kind == "requested" for card in cards for original in card.originals for box in original.boxes
        ),
        "seed": seed,
    }


def _chapters(run: RunData, samples: int, seed: int) -> list[tuple[Chapter, list[tuple[Case, list[Card]]]]]:
    return [
        (chapter, [(case, _cards(case, run.path)) for case in chapter.cases])
        for chapter in chapters(run, samples, seed)
    ]


def _cards(case: Case, root: Path) -> list[Card]:
    shared = case.fork.shared if case.fork else ""
    return [card(title, rollout, root, shared) for title, rollout in case.drawn]


def _facts(run: RunData) -> dict[str, str]:
    facts = {}
    if run.metrics:
        steps = list(run.metrics)
        facts["steps"] = f"{steps[0]} to {steps[-1]}" if len(steps) > 1 else str(steps[0])
    _, seconds = run.series("timing_s/step")
    if seconds:
        minutes = sum(seconds) / 60
        facts["time in steps"] = f"{minutes / 60:.1f} h" if minutes > 90 else f"{minutes:.1f} min"
    if "started" in run.about:
        facts["started"] = str(run.about["started"])
    return facts | {name: str(version) for name, version in run.about.get("versions", {}).items()}


def _flat(config: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(config, dict) and config:
        for name, value in config.items():
            yield from _flat(value, f"{path}.{name}" if path else str(name))
    elif path:
        yield path, str(config)


def _is_among(name: str, shown: tuple[str, ...]) -> bool:
    return any(name.startswith(each) if each.endswith(".") else name == each for each in shown)
