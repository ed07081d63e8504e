# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Makes supervised rows of recorded rollouts: reads the records of runs, filters them, and writes them to files.

The files depend on the records, the data and the settings alone::

    OUT/train.parquet      the rows of the data with a column ``turns``: the text of each assistant turn, in order, as
                           the model wrote it, without the token that ends a turn
    OUT/left_out.jsonl     every rollout that became no row, with the reason
    OUT/collection.json    the counts, the filters, and where the rollouts come from
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from omegaconf import DictConfig
from tqdm import tqdm

from verl_mapo import names
from verl_mapo.coldstart.box_units import without_units
from verl_mapo.coldstart.filters import (
    Candidate,
    FilterSettings,
    Question,
    Removal,
    call_count,
    removal_of,
    select,
)
from verl_mapo.report.load import Rollout, RunData
from verl_mapo.rollout.settings import VisualToolSettings
from verl_mapo.run_folder import SPLITS, write_whole
from verl_mapo.run_lock import LOCK, locked
from verl_mapo.settings import ConfigError, local_path, parse
from verl_mapo.settings import select as select_setting
from verl_mapo.training.questions import Questions

TURNS = "turns"
"""The column that makes a data row a supervised row."""

_ABOUT = "collection.json"
_BATCH = 1000
"""Number of rows that are in memory at once."""


@dataclass(frozen=True)
class Collection:
    """The result of :func:`collect`.

    Attributes:
        file: the parquet file; None if no rollout became a row.
        rollouts: number of rollouts that were read.
        removed: number of rollouts by the reason why they became no row.
        rows: number of rows.
        calling: number of rows that call a tool.
        questions: number of different questions among the rows.
    """

    file: Path | None
    rollouts: int
    removed: Mapping[Removal, int]
    rows: int
    calling: int
    questions: int


@dataclass
class _Reading:
    """What is kept of the records while they are read."""

    candidates: list[Candidate] = field(default_factory=list)
    left_out: list[dict[str, Any]] = field(default_factory=list)
    removed: Counter[Removal] = field(default_factory=Counter)
    rollouts: int = 0

    def remove(self, source: str, name: str, removal: Removal) -> None:
        self.removed[removal] += 1
        self.left_out.append({"run": source, "rollout": name, "reason": removal.value})


def collect(config: DictConfig, runs: Sequence[Path], out: Path, settings: FilterSettings) -> Collection:
    """Write the supervised rows of the rollouts of some runs.

    Args:
        config: the whole configuration: the questions are the rows of ``data.train_files``, and
            ``visual_tool.describe`` says which texts a call needs. Rollouts of other questions are left out, such as
            those of a run's validation.
        runs: folders of runs; of each, all recorded rollouts are read.
        out: folder to write to; made if absent.
        settings: the filters.

    Raises:
        ConfigError: a run has no rollouts, the data or the model cannot be used, or ``out`` is in use, or holds other
            rows, see :func:`check_out`.
    """
    questions = Questions(config)
    check_out(out, questions.files)
    with locked(out / LOCK):
        return _collect(questions, config, runs, out, settings)


def check_out(out: Path, data: Sequence[str]) -> None:
    """Check that no rows but those of an earlier collection would be replaced.

    Args:
        out: the folder to write to.
        data: the files of the questions.

    Raises:
        ConfigError: ``out/train.parquet`` is one of them, or was not written by ``verl-mapo collect``.
    """
    file = out / "train.parquet"
    read = any(file.resolve() == local_path(each).resolve() for each in data)
    if file.exists() and (read or not (out / _ABOUT).exists()):
        whose = "is one of data.train_files" if read else "was not written by verl-mapo collect"
        raise ConfigError(
            f"--out {out} is refused: {file} {whose}, and would be replaced. Give another folder, for example "
            f"{out}-collected."
        )


def _collect(
    questions: Questions, config: DictConfig, runs: Sequence[Path], out: Path, settings: FilterSettings
) -> Collection:
    known = {identity: _question(row) for identity, row in questions.by_id.items()}
    describe = parse(VisualToolSettings, config).describe
    reading, sources = _Reading(), []
    for run in runs:
        data, before = RunData.open(run), reading.rollouts
        for split, rollout in tqdm(_rollouts(data), desc=f"reading {data.name}", unit="rollout"):
            reading.rollouts += 1
            name = f"{split}/{rollout.step}/{rollout.question_id}/{rollout.session}"
            question = known.get(rollout.question_id)
            removal = removal_of(rollout, question, describe, settings)
            if removal is None:
                reading.candidates.append(_candidate(data.name, name, question, rollout))
            else:
                reading.remove(data.name, name, removal)
        if reading.rollouts == before:
            raise ConfigError(f"The run {run} has no recorded rollouts: give the folder of one that has.")
        sources.append(_source(data) | {"rollouts": reading.rollouts - before})
    kept, removed = select(reading.candidates, settings)
    for candidate, removal in removed:
        reading.remove(candidate.source, candidate.name, removal)
    return _write(questions, out, kept, reading, {"filters": asdict(settings), "sources": sources})


def texts_of(rollout: Rollout) -> tuple[str, ...]:
    """The text of each assistant turn of a rollout."""
    return tuple("".join(part.text for part in turns) for turns in rollout.trajectory.assistant_turns)


def _rollouts(data: RunData) -> Iterator[tuple[str, Rollout]]:
    for split in SPLITS:
        for rollout in data.rollouts_of(split):
            yield split, rollout


def _candidate(source: str, name: str, question: Question, rollout: Rollout) -> Candidate:
    return Candidate(source, name, question.place, texts_of(rollout), call_count(rollout.trajectory.turns))


def _question(row: Mapping[str, Any]) -> Question:
    boxes = (row["extra_info"] or {}).get("boxes")
    return Question(row["place"], [tuple(box) for box in boxes or ()])


def _source(data: RunData) -> dict[str, Any]:
    """Where the rollouts of a run come from: model, temperatures and versions."""
    about = {"run": data.name, "command": data.about.get("command"), "versions": data.about.get("versions")}
    if "server" in data.about:
        return about | data.about["server"]
    temperatures = {"train": f"{names.ROLLOUT}.temperature", "val": f"{names.ROLLOUT}.val_kwargs.temperature"}
    return about | {
        "model": select_setting(data.config, names.MODEL_PATH),
        "temperature": {split: select_setting(data.config, path) for split, path in temperatures.items()},
    }


def _write(
    questions: Questions, out: Path, kept: list[Candidate], reading: _Reading, about: dict[str, Any]
) -> Collection:
    out.mkdir(parents=True, exist_ok=True)
    file = out / "train.parquet"
    if kept:
        _write_rows(questions, file, kept)
    else:
        file.unlink(missing_ok=True)
    collection = Collection(
        file if kept else None,
        reading.rollouts,
        {removal: reading.removed[removal] for removal in Removal if reading.removed[removal]},
        len(kept),
        sum(candidate.calls > 0 for candidate in kept),
        len({candidate.place for candidate in kept}),
    )
    left_out = sorted(reading.left_out, key=lambda entry: (entry["run"], entry["rollout"]))
    write_whole(out / "left_out.jsonl", "".join(json.dumps(entry) + "\n" for entry in left_out))
    counts = {
        "rollouts": collection.rollouts,
        "removed": {removal.value: count for removal, count in collection.removed.items()},
        "rows": collection.rows,
        "rows_with_calls": collection.calling,
        "questions": collection.questions,
    }
    about = {"counts": counts, **about, "data": questions.files, "version": metadata.version("verl-mapo")}
    write_whole(out / _ABOUT, json.dumps(about, indent=1) + "\n")
    return collection


def _write_rows(questions: Questions, file: Path, kept: Iterable[Candidate]) -> None:
    """Write the rows of the data with their turns; an interruption leaves the previous file."""
    draft, rows, writer = file.with_name(f".{file.name}"), iter(kept), None
    while batch := list(islice(rows, _BATCH)):
        table = questions.table([candidate.place for candidate in batch])
        turns = pa.array([candidate.turns for candidate in batch], pa.list_(pa.string()))
        if TURNS in table.column_names:
            table = table.drop_columns([TURNS])
        table = _in_model_units(table.append_column(TURNS, turns))
        writer = writer or pq.ParquetWriter(draft, table.schema)
        writer.write_table(table)
    writer.close()
    draft.replace(file)


def _in_model_units(table: pa.Table) -> pa.Table:
    """Rows that no longer name the units of the turns that they had before, such as those of a converted set."""
    place = table.schema.get_field_index("extra_info")
    if place < 0:
        return table
    column = table.column(place)
    told = pa.array([without_units(one) for one in column.to_pylist()], column.type)
    return table.set_column(place, table.schema.field(place), told)
