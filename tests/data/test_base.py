# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""A data set is found by name or dotted path and is written as parquet; a wrong source is an error."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import huggingface_hub
import pyarrow.parquet as pq
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError
from typer.testing import CliRunner

from verl_mapo.cli import app
from verl_mapo.data import DATA_SETS, DataSet, convert
from verl_mapo.data.base import Row, read_examples
from verl_mapo.settings import ConfigError


class Counting(DataSet):
    """Questions about numbers, without images."""

    name = "counting"

    def rows(self, source):
        for index in range(2500):
            yield {
                "data_source": self.name,
                "prompt": [{"role": "user", "content": f"What follows {index}?"}],
                "images": [],
                "reward_model": {"style": "numeric", "ground_truth": str(index + 1)},
                "extra_info": {"index": index},
            }


@pytest.fixture
def outside_package(monkeypatch):
    module = ModuleType("outside_package")
    module.Counting = Counting
    monkeypatch.setitem(sys.modules, "outside_package", module)


@pytest.mark.parametrize(("limit", "rows"), [(None, 2500), (7, 7), (1000, 1000)])
def test_all_rows_or_the_first_ones_are_written(tmp_path, limit, rows):
    written = convert(Counting(), tmp_path, tmp_path / "out", limit)
    assert (written.rows, written.images) == (rows, 0) and written.file == tmp_path / "out" / "train.parquet"
    table = pq.read_table(written.file)
    assert table.schema == Counting.schema()
    assert [row["extra_info"]["index"] for row in table.to_pylist()] == list(range(rows))


def test_interrupted_conversion_leaves_no_file(tmp_path):
    class Interrupted(Counting):
        def rows(self, source):
            yield from list(super().rows(source))[:1500]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(Interrupted(), tmp_path, tmp_path / "out")
    assert not (tmp_path / "out" / "train.parquet").exists()


def test_source_without_rows_is_an_error(tmp_path):
    class Empty(Counting):
        def rows(self, source):
            yield from ()

    with pytest.raises(ConfigError, match="holds no row of counting"):
        convert(Empty(), tmp_path, tmp_path / "out")
    assert not (tmp_path / "out" / "train.parquet").exists()


@pytest.mark.parametrize("source", ["nowhere", "/nowhere/at/all", "./no/folder"])
def test_source_that_does_not_exist_is_an_error(tmp_path, source):
    with pytest.raises(ConfigError, match="is no folder and no id"):
        convert(Counting(), source, tmp_path)


def test_repository_on_the_hub_is_downloaded_next_to_the_parquet_file(tmp_path, monkeypatch):
    class Reading(Counting):
        def rows(self, source):
            yield from (row for row in super().rows(source) if source == tmp_path / "source")

    def download(repository, *, repo_type, local_dir):
        assert (repository, repo_type) == ("someone/counting", "dataset")
        local_dir.mkdir()
        return str(local_dir)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert convert(Reading(), "someone/counting", tmp_path, 3).rows == 3


def test_failed_download_is_an_error_that_names_the_source(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise LocalEntryNotFoundError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(ConfigError, match="someone/counting .* cannot be downloaded .*: no network"):
        convert(Counting(), "someone/counting", tmp_path)


@pytest.mark.parametrize("ending", ["jsonl", "json"])
def test_examples_are_read_from_json(tmp_path, ending):
    (tmp_path / "data").mkdir()
    for part in range(2):
        examples = [{"question": f"{part}{number}"} for number in range(3)]
        lines = "\n".join(map(json.dumps, examples)) if ending == "jsonl" else json.dumps(examples)
        (tmp_path / "data" / f"part{part}.{ending}").write_text(lines)
    assert [example["question"] for example in read_examples(tmp_path)] == ["00", "01", "02", "10", "11", "12"]


def test_folder_without_data_files_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="holds no .parquet, .jsonl or .json file"):
        next(read_examples(tmp_path))


def test_every_built_in_data_set_is_found_and_described():
    for name in DATA_SETS.names:
        found = DATA_SETS.find(name)
        assert issubclass(found, DataSet) and found.name and found.__doc__


def test_command_converts_a_data_set_of_another_package(tmp_path, outside_package):
    arguments = ["data", "convert", "outside_package.Counting", "--source", str(tmp_path), "--out", str(tmp_path / "o")]
    done = CliRunner().invoke(app, [*arguments, "--limit", "5"])
    assert done.exit_code == 0, done.output
    assert "Wrote 5 rows with 0 images." in done.stdout
    [line] = [line for line in done.stdout.splitlines() if line.startswith("data.train_files=")]
    assert pq.read_table(Path(line.partition("=")[2])).num_rows == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["virl39", "--source", "."], "did you mean"),
        (["virl39k", "--source", "nowhere"], "is no folder"),
    ],
)
def test_command_ends_with_a_message(tmp_path, arguments, message):
    done = CliRunner().invoke(app, ["data", "convert", *arguments, "--out", str(tmp_path)])
    assert done.exit_code == 2 and message in done.output and "Traceback" not in done.output


def test_list_shows_every_built_in_data_set():
    done = CliRunner().invoke(app, ["data", "list"])
    assert done.exit_code == 0 and all(name in done.stdout for name in DATA_SETS.names)


class Misfit(DataSet):
    """Rows that do not fit: an undeclared column, a number for a text, a missing file."""

    name = "misfit"

    def rows(self, source):
        if (source / "missing").exists():
            (source / "nowhere").read_text()
        extra = {"index": 0, "colour": "red"} if (source / "colour").exists() else {"index": 0}
        yield Row(
            data_source=self.name,
            prompt=[{"role": "user", "content": "?"}],
            images=[],
            reward_model={"style": "exact", "ground_truth": ["a"]},
            extra_info=extra,
        )


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("colour", r"extra_info.colour, which Misfit.extra_info does not declare"),
        ("truth", "misfit: a row does not fit the schema"),
        ("missing", "cannot be read as misfit: FileNotFoundError: .*nowhere"),
    ],
)
def test_row_or_file_that_does_not_fit_is_an_error_with_a_sentence(tmp_path, file, message):
    (tmp_path / file).touch()
    with pytest.raises(ConfigError, match=message):
        convert(Misfit(), tmp_path, tmp_path / "out")
