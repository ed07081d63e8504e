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
"""The report of a run: one HTML file that needs nothing else, and the learning curves as a picture."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from omegaconf import DictConfig, OmegaConf

from verl_mapo.report.cards import Card, card, shortened
from verl_mapo.report.curves import panel_svg, smoothing, write_curves
from verl_mapo.report.findings import alarms, headlines
from verl_mapo.report.load import Run
from verl_mapo.report.panels import panels
from verl_mapo.report.pictures import EXECUTED, SAID, data_url
from verl_mapo.report.sampling import Case, Chapter, chapters
from verl_mapo.settings import select, visual_credit_enabled

logger = logging.getLogger(__name__)

_SUMMARY = (
    "actor_rollout_ref.model.path",
    "actor_rollout_ref.actor.optim.lr",
    "actor_rollout_ref.rollout.n",
    "actor_rollout_ref.rollout.temperature",
    "actor_rollout_ref.rollout.multi_turn.max_assistant_turns",
    "algorithm.adv_estimator",
    "data.train_files",
    "data.train_batch_size",
    "data.val_files",
    "trainer.total_training_steps",
    "visual_tool.",
)
"""Settings that are shown at once, beside those of the run's methods: by name, or all below one that ends in a dot."""


@dataclass(frozen=True)
class ReportFiles:
    """What :func:`build_report` wrote."""

    html: Path
    curves: Path


def build_report(run: Path, out: Path | None = None, samples: int = 12, seed: int = 0) -> ReportFiles:
    """Write the report of a run.

    Args:
        run: the run folder, see :class:`Run`; what is missing in it is not drawn.
        out: the folder to write ``report.html`` and ``curves.png`` into; None is the run folder.
        samples: about how many trajectories to draw.
        seed: of the choice of trajectories; the same seed and run give the same files.

    Raises:
        ConfigError: ``run`` is not the folder of a run.
    """
    opened = Run.open(run)
    folder = out or run
    folder.mkdir(parents=True, exist_ok=True)
    files = ReportFiles(folder / "report.html", folder / "curves.png")
    write_curves(panels(opened), opened.name, files.curves)
    page = _environment().get_template("report.html.j2").render(_context(opened, samples, seed))
    # What a model wrote may hold half a surrogate pair, which no file can.
    files.html.write_bytes(page.encode("utf-8", errors="replace"))
    logger.info("Wrote %s and %s.", files.html, files.curves)
    return files


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["share"] = lambda value: "\u2013" if value is None else f"{value:.1%}"
    environment.filters["number"] = lambda value: "\u2013" if value is None else f"{value:.2f}"
    environment.filters["signed"] = lambda value: "\u2013" if value is None else f"{value:+.2f}".replace("-", "\u2212")
    environment.filters["box"] = lambda box: "\u2013" if box is None else ", ".join(f"{value:g}" for value in box)
    environment.filters["shortened"] = shortened
    return environment


def _context(run: Run, samples: int, seed: int) -> dict[str, Any]:
    drawn, watched = panels(run), alarms(run)
    told = _chapters(run, samples, seed)
    cards = [card for _, cases in told for _, cards in cases for card in cards]
    settings = dict(_flat(OmegaConf.to_container(run.config)))
    at_once = (*_SUMMARY, *_methods(run.config))
    return {
        "run": run,
        "facts": _facts(run),
        "summary": {name: value for name, value in settings.items() if _is_among(name, at_once)},
        "settings": settings,
        "raised": [alarm for alarm in watched if alarm.sentence],
        "quiet": [alarm for alarm in watched if not alarm.sentence],
        "headlines": headlines(run),
        "panels": [(panel, data_url(panel_svg(panel), "image/svg+xml")) for panel in drawn],
        "smoothing": smoothing(drawn),
        "chapters": told,
        "asked_drawn": any(mark.kind == "said" for card in cards for scene in card.scenes for mark in scene.marks),
        "seed": seed,
        "executed": EXECUTED,
        "said": SAID,
    }


def _chapters(run: Run, samples: int, seed: int) -> list[tuple[Chapter, list[tuple[Case, list[Card]]]]]:
    return [
        (chapter, [(case, _cards(case, run.path)) for case in chapter.cases])
        for chapter in chapters(run, samples, seed)
    ]


def _cards(case: Case, root: Path) -> list[Card]:
    shared = case.fork.shared if case.fork else ""
    return [card(why, rollout, root, shared) for why, rollout in case.drawn]


def _facts(run: Run) -> dict[str, str]:
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


def _methods(config: DictConfig) -> Iterator[str]:
    """Where the settings of the methods stand that the run made use of."""
    estimator = select(config, "algorithm.adv_estimator")
    if estimator == "mapo" or (estimator == "axpo" and select(config, "algorithm.axpo.alignment")):
        yield "algorithm.mapo."
    if estimator == "axpo":
        yield "algorithm.axpo."
    if visual_credit_enabled(config):
        yield "algorithm.visual_credit."


def _is_among(name: str, shown: tuple[str, ...]) -> bool:
    return any(name.startswith(each) if each.endswith(".") else name == each for each in shown)
