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
"""Reading a run folder: metrics by step, rollouts by step, and the held-out questions seen both first and last."""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from verl_mapo.settings import ConfigError

logger = logging.getLogger(__name__)

_VALIDATION = re.compile(r"val-(?:core|aux)/(?P<source>.+)/(?P<name>[^/]+)/mean@(?P<count>\d+)")


@dataclass(frozen=True, eq=False)
class Rollout:
    """One line of ``trajectories/<split>/<step>.jsonl``.

    Attributes:
        split: ``train`` or ``val``.
        uid: the prompt it belongs to, among the rollouts of one step and split.
        session: its number within the prompt.
        alignment, advantage, a_out, a_sem: None where there was none (validation, no visual turn, not scored).
        trajectory: as :meth:`verl_mapo.rollout.trajectory.Trajectory.record` gives it.
        axpo: what it was to AXPO, as :mod:`verl_mapo.training.records` writes it; None without AXPO.
        credit: its tokens, as :mod:`verl_mapo.training.token_records` writes them; None where none were.
    """

    step: int
    split: str
    uid: str
    session: int
    question: str
    ground_truth: str
    outcome: float
    alignment: float | None
    advantage: float | None
    a_out: float | None
    a_sem: float | None
    trajectory: dict[str, Any]
    axpo: dict[str, Any] | None
    credit: dict[str, Any] | None

    @property
    def role(self) -> str:
        """``plain``, ``source`` or ``resample``; plain without AXPO."""
        return self.axpo["role"] if self.axpo else "plain"

    @property
    def focused(self) -> bool:
        """Whether the focus of any of its tokens was written down."""
        return self.credit is not None and any(score is not None for score in self.credit["focus"])

    @classmethod
    def of(cls, line: dict[str, Any]) -> Rollout:
        """From a decoded line; further keys are left aside, and a rollout of another agent loop has no turns."""
        nothing = {"images": [], "image_sizes": [], "turns": [], "end_reason": "", "prefix": 0}
        line = {"axpo": None, "credit": None} | line  # absent before there was AXPO, or visual credit
        values = {each.name: line[each.name] for each in fields(cls)}
        return cls(**values | {"trajectory": line["trajectory"] or nothing})


@dataclass(frozen=True)
class HeldOut:
    """The first and the last validation.

    Attributes:
        first: step of the first validation.
        last: step of the last one.
        pairs: for every question that both of them asked, its rollouts then and now.
    """

    first: int
    last: int
    pairs: list[tuple[list[Rollout], list[Rollout]]]


@dataclass
class Run:
    """A run folder: ``metrics.jsonl`` or one file an attempt in ``metrics/``, ``trajectories/``, ``run.json``.

    Attributes:
        path: the folder.
        about: ``run.json``: command, started, versions, as far as there.
        config: the configuration, of ``run.json`` or hydra's record; empty where there is neither.
        metrics: step to metric to value, finite numbers only.
        files: split, ``train`` or ``val``, to step to the file with its rollouts.
    """

    path: Path
    about: dict[str, Any]
    config: DictConfig
    metrics: dict[int, dict[str, float]]
    files: dict[str, dict[int, Path]]
    _rollouts: dict[Path, list[Rollout]] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path) -> Run:
        """Read everything but the rollouts, which are read when asked for.

        Raises:
            ConfigError: this is not the folder of a run.
        """
        metrics, trajectories = (
            [*path.glob("metrics.jsonl"), *sorted(path.glob("metrics/*.jsonl"))],
            path / "trajectories",
        )
        if not metrics and not trajectories.is_dir():
            raise ConfigError(
                f"run={str(path)!r} holds neither metrics nor trajectories: give the folder that a training wrote to."
            )
        files = {
            split: dict(sorted((int(file.stem), file) for file in (trajectories / split).glob("*.jsonl")))
            for split in ("train", "val")
        }
        about = _about(path)
        return cls(path, about, _config(path, about.pop("config", None)), _metrics(metrics), files)

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.path.resolve().name

    @property
    def explored(self) -> bool:
        """Whether AXPO was at work, as the metrics have it."""
        return any(name.startswith("axpo/") for name in self.metric_names)

    @cached_property
    def metric_names(self) -> list[str]:
        """Every metric that was logged at any step, sorted."""
        return sorted({name for values in self.metrics.values() for name in values})

    def series(self, name: str) -> tuple[list[int], list[float]]:
        """The steps at which a metric was logged, and its values."""
        steps = [step for step, values in self.metrics.items() if name in values]
        return steps, [self.metrics[step][name] for step in steps]

    def validation(self, name: str) -> dict[str, str]:
        """Data source to the metric of its held-out ``name`` (``acc``, ``alignment``), over most samples."""
        found = [(match["source"], int(match["count"]), metric) for metric, match in self._matches(name)]
        return {source: metric for source, _, metric in sorted(found)}

    def rollouts(self, step: int, split: str) -> list[Rollout]:
        """The rollouts of a step, in the order in which they were written."""
        file = self.files[split][step]
        if file not in self._rollouts:
            self._rollouts[file] = [Rollout.of(line) for line in lines(file)]
        return self._rollouts[file]

    def ends(self, split: str) -> list[int]:
        """The first and the last step with rollouts of a split; one step where they are the same, else none."""
        steps = list(self.files[split])
        first = next((step for step in steps if self.rollouts(step, split)), None)
        last = next((step for step in reversed(steps) if self.rollouts(step, split)), None)
        return [] if first is None or last is None else sorted({first, last})

    @cached_property
    def held_out(self) -> HeldOut | None:
        """The first against the last validation; None with fewer than two."""
        ends = self.ends("val")
        if len(ends) < 2:
            return None
        before, after = (_by_question(self.rollouts(step, "val")) for step in ends)
        return HeldOut(*ends, [(before[question], after[question]) for question in before if question in after])

    def _matches(self, name: str | None = None) -> Iterator[tuple[str, re.Match[str]]]:
        for metric in self.metric_names:
            match = _VALIDATION.fullmatch(metric)
            if match and name in (None, match["name"]):
                yield metric, match


def _by_question(rollouts: list[Rollout]) -> dict[tuple, list[Rollout]]:
    # A prompt's uid is drawn anew at every validation: the question and its images say which one it is.
    found: dict[tuple, list[Rollout]] = {}
    for rollout in rollouts:
        key = rollout.question, rollout.ground_truth, *rollout.trajectory["images"]
        found.setdefault(key, []).append(rollout)
    return found


def _about(path: Path) -> dict[str, Any]:
    file = path / "run.json"
    return json.loads(file.read_text("utf-8")) if file.is_file() else {}


def _config(path: Path, recorded: dict[str, Any] | None) -> DictConfig:
    hydra = path / "hydra" / ".hydra" / "config.yaml"
    if recorded is None and hydra.is_file():
        return OmegaConf.load(hydra)
    return OmegaConf.create(recorded or {})


def _metrics(files: list[Path]) -> dict[int, dict[str, float]]:
    found: dict[int, dict[str, float]] = {}
    for line in chain.from_iterable(map(lines, files)):
        numbers = {name: float(value) for name, value in line["data"].items() if isinstance(value, int | float)}
        # A step may have several lines: validation logs its own, a resumed run repeats some. The last value counts.
        found.setdefault(line["step"], {}).update({k: v for k, v in numbers.items() if math.isfinite(v)})
    return dict(sorted(found.items()))


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """Decoded lines; one that a killed process left half written is left out and reported."""
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                yield json.loads(line)
            except ValueError:
                logger.warning("%s, line %d is not whole and is left out.", path, number)
