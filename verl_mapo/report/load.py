# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Reads a run folder: metrics by step, rollouts by step, and the questions that the first and last validation share."""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError

from verl_mapo.columns import CONTINUATION, PLAIN, ROLE_NAMES, SOURCE
from verl_mapo.rollout.trajectory import Trajectory
from verl_mapo.run_folder import SPLITS, RunFolder
from verl_mapo.settings import ConfigError
from verl_mapo.training.method import Method
from verl_mapo.training.methods import METHODS, enabled_methods

logger = logging.getLogger(__name__)

_VALIDATION = re.compile(r"val-(?:core|aux)/(?P<data_source>.+)/(?P<name>[^/]+)/mean@(?P<count>\d+)")


@dataclass(frozen=True)
class AxpoRecord:
    """What AXPO did with a rollout; :mod:`verl_mapo.training.axpo` writes it under the key ``axpo``.

    Attributes:
        role: a value of :data:`verl_mapo.columns.ROLE_NAMES`.
        prefix_id: session number of the source: its own for a source, -1 for a plain rollout.
        prefix_length: tokens of the shared prefix; 0 for a plain rollout.
        confidence: mean probability of the first tool call's tokens; None without a call and for a continuation.
        a_prefix: advantage of the shared prefix; None unless the rollout is a source.
        recovered: whether a continuation of it is correct; None unless the rollout is a source.
        cached_tokens: prompt tokens that the engine took from its cache; None where it does not report them.
    """

    role: str
    prefix_id: int
    prefix_length: int
    confidence: float | None
    a_prefix: float | None
    recovered: bool | None
    cached_tokens: int | None


@dataclass(frozen=True)
class TokenCredit:
    """The tokens of a rollout under visual credit.

    :mod:`verl_mapo.training.token_records` writes them under the key ``credit``.

    Attributes:
        tokens: text of each policy token.
        focus: focus score of each, in [0, 1]; None for a token without one.
        advantage: advantage of each, multiplied by the credit factors.
        stretches: numbers of tokens that the model wrote between two observations.
        trajectory_factor: the factor that all tokens of the rollout share.
    """

    tokens: list[str]
    focus: list[float | None]
    advantage: list[float]
    stretches: list[int]
    trajectory_factor: float


@dataclass(frozen=True, eq=False)
class Rollout:
    """One line of ``trajectories/<split>/<step>.jsonl``, as :mod:`verl_mapo.training.records` writes it.

    Attributes:
        step: the global step.
        split: ``train`` or ``val``.
        data_source: the data set of its question.
        uid: the prompt that it belongs to; unique within one step and split.
        session: its number within the prompt.
        question_id: identifies the data row, the same at every step, see
            :func:`verl_mapo.training.question_id.question_id`.
        question: text of the last message of the prompt.
        ground_truth: the correct answer, as text.
        outcome: its reward; 0 where :attr:`known_outcome` is None.
        alignment, advantage, a_out, a_sem: None where there is none (validation, no visual turn, not scored).
        trajectory: without images and turns where the agent loop recorded none.
        axpo: None without AXPO.
        credit: None where the tokens were not recorded.
    """

    step: int
    split: str
    data_source: str
    uid: str
    session: int
    question_id: str
    question: str
    ground_truth: str
    outcome: float
    alignment: float | None
    advantage: float | None
    a_out: float | None
    a_sem: float | None
    trajectory: Trajectory
    axpo: AxpoRecord | None
    credit: TokenCredit | None

    @property
    def known_outcome(self) -> float | None:
        """Its reward; None where no reward could be computed, see :attr:`Trajectory.error`."""
        return None if self.trajectory.error else self.outcome

    @property
    def role(self) -> str:
        """A value of :data:`verl_mapo.columns.ROLE_NAMES`; plain without AXPO."""
        return self.axpo.role if self.axpo else ROLE_NAMES[PLAIN]

    @property
    def is_source(self) -> bool:
        """Whether continuations go on from its prefix."""
        return self.role == ROLE_NAMES[SOURCE]

    @property
    def is_continuation(self) -> bool:
        """Whether AXPO added it; every other rollout is an *original* one."""
        return self.role == ROLE_NAMES[CONTINUATION]

    @property
    def has_focus(self) -> bool:
        """Whether the focus of any of its tokens was recorded."""
        return self.credit is not None and any(score is not None for score in self.credit.focus)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Rollout:
        """The rollout of a decoded line; keys that a method of another package added are ignored."""
        values = {each.name: record[each.name] for each in fields(cls)}
        trajectory, axpo, credit = (record[name] for name in ("trajectory", "axpo", "credit"))
        typed = {
            "trajectory": Trajectory.from_record(trajectory) if trajectory else Trajectory([]),
            "axpo": AxpoRecord(**axpo) if axpo else None,
            "credit": TokenCredit(**credit) if credit else None,
        }
        return cls(**values | typed)


@dataclass(frozen=True)
class HeldOut:
    """The first and the last validation.

    Attributes:
        first: step of the first validation.
        last: step of the last one.
        pairs: the rollouts of the first and those of the last validation, for every question in both.
    """

    first: int
    last: int
    pairs: list[tuple[list[Rollout], list[Rollout]]]


@dataclass
class RunData:
    """The content of a run folder.

    Attributes:
        path: the folder.
        about: ``run.json`` without ``config``: command, start, versions; empty where the file is missing.
        config: the configuration, from ``run.json`` or from hydra's record; empty where there is neither.
        metrics: step to metric to value, finite numbers only.
        files: split to step to the file with its rollouts.
    """

    path: Path
    about: dict[str, Any]
    config: DictConfig
    metrics: dict[int, dict[str, float]]
    files: dict[str, dict[int, Path]]
    _rollouts: dict[Path, list[Rollout]] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path) -> RunData:
        """Read everything but the rollouts, which are read when they are asked for.

        Raises:
            ConfigError: this is not the folder of a run.
        """
        folder = RunFolder(path)
        if not folder.metrics and not folder.trajectories.is_dir():
            raise ConfigError(
                f"run={str(path)!r} holds neither metrics nor trajectories: give the folder that a training wrote to."
            )
        about = _decoded(folder.about, json.loads)
        config = _config(folder, about.pop("config", None))
        return cls(path, about, config, _metrics(folder.metrics), {split: folder.rollouts(split) for split in SPLITS})

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.path.resolve().name

    @cached_property
    def methods(self) -> list[type[Method]]:
        """The methods that the configuration enables, except a method whose package is not installed."""
        try:
            return enabled_methods(self.config)
        except ConfigError as error:
            logger.warning("The report leaves out panels, alarms and settings of one method: %s", error)
            return [method for method in METHODS if method.enabled(self.config)]

    @property
    def known_methods(self) -> list[type[Method]]:
        """The enabled methods, then the others of this package: each may have logged metrics."""
        return list(dict.fromkeys([*self.methods, *METHODS]))

    @property
    def has_axpo_metrics(self) -> bool:
        """Whether any metric of AXPO was logged."""
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
        """Names of a validation metric by data source.

        Args:
            name: ``acc`` or ``alignment``; where verl logged means over several numbers of samples, the largest counts.
        """
        matches = [match for metric in self.metric_names if (match := _VALIDATION.fullmatch(metric))]
        found = [(match["data_source"], int(match["count"]), match[0]) for match in matches if match["name"] == name]
        return {data_source: metric for data_source, _, metric in sorted(found)}

    def rollouts(self, step: int, split: str) -> list[Rollout]:
        """The rollouts of a step, in the order in which they were written."""
        file = self.files[split][step]
        if file not in self._rollouts:
            self._rollouts[file] = list(_read(file))
        return self._rollouts[file]

    def training_rollouts(self) -> Iterator[Rollout]:
        """The rollouts of all training steps, read one by one and not kept in memory."""
        return self.rollouts_of("train")

    def rollouts_of(self, split: str) -> Iterator[Rollout]:
        """The same of any split."""
        return chain.from_iterable(map(_read, self.files[split].values()))

    def ends(self, split: str) -> list[int]:
        """The first and the last step with rollouts of a split: two steps, one where they are the same, or none."""
        steps = list(self.files[split])
        first = next((step for step in steps if self.rollouts(step, split)), None)
        last = next((step for step in reversed(steps) if self.rollouts(step, split)), None)
        return [] if first is None or last is None else sorted({first, last})

    @cached_property
    def held_out(self) -> HeldOut | None:
        """The first and the last validation; None with fewer than two."""
        ends = self.ends("val")
        if len(ends) < 2:
            return None
        before, after = (_by_question(self.rollouts(step, "val")) for step in ends)
        return HeldOut(*ends, [(before[question], after[question]) for question in before if question in after])


def _by_question(rollouts: list[Rollout]) -> dict[str, list[Rollout]]:
    # uids are drawn anew at every validation.
    found: dict[str, list[Rollout]] = {}
    for rollout in rollouts:
        found.setdefault(rollout.question_id, []).append(rollout)
    return found


def _config(folder: RunFolder, recorded: dict[str, Any] | None) -> DictConfig:
    if recorded is None:
        recorded = _decoded(folder.config, OmegaConf.create)
    return OmegaConf.create(recorded)


def _decoded(file: Path, decode: Callable[[str], Any]) -> Any:
    """The content of a file; empty where the file is missing or, with a warning, where it is not complete."""
    if not file.is_file():
        return {}
    try:
        return decode(file.read_text("utf-8")) or {}
    except (ValueError, YAMLError):
        logger.warning("%s cannot be read and is left out.", file)
        return {}


def _metrics(files: list[Path]) -> dict[int, dict[str, float]]:
    found: dict[int, dict[str, float]] = {}
    for line in chain.from_iterable(map(_lines, files)):
        numbers = {name: float(value) for name, value in line["data"].items() if isinstance(value, int | float)}
        # A step may have several lines: validation logs its own, and a resumed run repeats some. The last value counts.
        found.setdefault(line["step"], {}).update({k: v for k, v in numbers.items() if math.isfinite(v)})
    return dict(sorted(found.items()))


def _read(file: Path) -> Iterator[Rollout]:
    return map(Rollout.from_record, _lines(file))


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """The decoded lines of a JSON lines file; one that a killed process left incomplete is skipped with a warning."""
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                yield json.loads(line)
            except ValueError:
                logger.warning("%s: line %d is not valid JSON and is left out.", path, number)
