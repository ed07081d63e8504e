# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The benchmarks that a command names: folders of ``verl-mapo bench prepare``, or names, prepared where needed."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from verl_mapo.benchmarks import BENCHMARKS, Benchmark
from verl_mapo.data import convert
from verl_mapo.data.rows import schema
from verl_mapo.settings import ConfigError

ROWS = "train.parquet"
"""The file with the rows in a folder of ``verl-mapo bench prepare``."""


def prepared_files(names: Sequence[str], folder: Path, source: str | None = None) -> list[Path]:
    """The rows of each benchmark.

    Args:
        names: folders of ``verl-mapo bench prepare``; or benchmarks, whose folders are in ``folder`` under their names.
        folder: where benchmarks are prepared.
        source: official files of the one benchmark that is not prepared yet, see :func:`verl_mapo.data.convert`.

    Raises:
        ConfigError: a name is neither; or a benchmark is not prepared, and no source is given for it alone.
    """
    files = {name: _file_of(name, folder) for name in names}
    missing = [name for name, file in files.items() if not file.is_file()]
    if source is None or len(missing) > 1:
        for name in missing:
            kind = _benchmark(name)
            where = "the hub or a folder as source" if kind.hub_id else f"the folder of {kind().origin} as source"
            raise ConfigError(
                f"{name} is not prepared in {folder}: run 'verl-mapo bench prepare {name} --source "
                f"{kind.hub_id or 'FOLDER'} --out {folder / kind.name}' first, with {where}; for one benchmark, "
                "--source does it."
            )
    for name in missing:
        convert(_benchmark(name)(), source, files[name].parent.resolve(), max_left_out=0.0)
    return list(files.values())


def check_prepared(option: str, files: Iterable[Path]) -> None:
    """Check that files hold neutral rows.

    Args:
        option: the option or argument that gives the files.
        files: what was given.

    Raises:
        ConfigError: one is a folder, or cannot be read as parquet, or has other columns.
    """
    for file in files:
        given, right = f"{option} {file}", "give a file of 'verl-mapo bench prepare', such as benchmarks/vstar/" + ROWS
        if file.is_dir():
            inside = f"give the file in it, {file / ROWS}" if (file / ROWS).is_file() else right
            raise ConfigError(f"{given} is a folder: {inside}.")
        try:
            found = pq.read_table(file).schema
        except (OSError, pa.ArrowException) as error:
            fault = str(error).partition("\n")[0]
            raise ConfigError(f"{given} cannot be read as parquet ({fault:.200}): {right}.") from None
        if lacking := ", ".join(_lacking(found, schema())):
            raise ConfigError(f"{given} holds other rows, for it has no {lacking} as prepared rows have: {right}.")


def _lacking(found: Iterable[pa.Field], wanted: Iterable[pa.Field], path: str = "") -> Iterator[str]:
    """The dotted names of the fields that are absent, or are no structs or texts where they should be."""
    types = {field.name: field.type for field in found}
    for field in wanted:
        name, kind = f"{path}{field.name}", types.get(field.name)
        if kind is None or (
            pa.types.is_string(field.type) and not (pa.types.is_string(kind) or pa.types.is_null(kind))
        ):
            yield name
        elif pa.types.is_struct(field.type):
            yield from _lacking(kind, field.type, f"{name}.") if pa.types.is_struct(kind) else (name,)


def benchmarks_in(files: Sequence[Path], named: Sequence[str] = ()) -> dict[str, Benchmark]:
    """The benchmarks whose questions are in some files, by the ``data_source`` of the rows.

    Args:
        files: neutral rows.
        named: dotted paths among the names that a command was given, for benchmarks of other packages.

    Raises:
        ConfigError: a row belongs to no benchmark, or to one in two files.
    """
    kinds = [BENCHMARKS.find(name) for name in (*BENCHMARKS.names, *(name for name in named if "." in name))]
    known = {kind.name: kind for kind in kinds if isinstance(kind.name, str)}
    found: dict[str, Benchmark] = {}
    for file in files:
        for source in pq.read_table(file, columns=["data_source"]).column("data_source").unique().to_pylist():
            if source not in known:
                raise ConfigError(
                    f"{file} has rows with data_source={source!r}, which is no benchmark: give files of 'verl-mapo "
                    f"bench prepare', whose benchmarks are {', '.join(known)}."
                )
            if source in found:
                raise ConfigError(f"The benchmark {source} is in two of the given files: give it once.")
            found[source] = known[source]()
    return found


def facts_in(questions: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """``extra_info.more`` of each question, by benchmark and id."""
    found: dict[str, dict[str, Any]] = defaultdict(dict)
    for file in questions:
        for row in pq.read_table(file, columns=["data_source", "extra_info"]).to_pylist():
            found[row["data_source"]][row["extra_info"]["id"]] = json.loads(row["extra_info"]["more"])
    return dict(found)


def _file_of(name: str, folder: Path) -> Path:
    path = Path(name)
    if path.is_file():
        return path
    if (path / ROWS).is_file():
        return path / ROWS
    return folder / _benchmark(name).name / ROWS


def _benchmark(name: str) -> type[Benchmark]:
    try:
        return BENCHMARKS.find(name)
    except ValueError as error:
        raise ConfigError(f"{name} is no folder of 'verl-mapo bench prepare', and {error}.") from None
