# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""``verl-mapo data`` from the command line."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import pyarrow.parquet as pq
import pytest
from data.test_conversion import Counting
from typer.testing import CliRunner

from verl_mapo.cli import app
from verl_mapo.data import DATA_SETS


def run(*arguments):
    return CliRunner().invoke(app, ["data", *map(str, arguments)])


@pytest.fixture
def outside_package(monkeypatch):
    module = ModuleType("outside_package")
    module.Counting = Counting
    monkeypatch.setitem(sys.modules, "outside_package", module)


def test_data_set_of_another_package_is_converted(tmp_path, outside_package):
    done = run("convert", "outside_package.Counting", "--source", tmp_path, "--out", tmp_path / "o", "--limit", 5)
    assert done.exit_code == 0, done.output
    assert "5 rows with 0 images" in done.stdout and "numeric" in done.stdout
    [line] = [line for line in done.stdout.splitlines() if line.startswith("data.train_files=")]
    assert pq.read_table(Path(line.partition("=")[2])).num_rows == 5


def test_options_and_limits_reach_the_conversion(tmp_path):
    source, out = tmp_path / "s", tmp_path / "o"
    source.mkdir()
    rows = [{"problem": "Which?", "answer": answer} for answer in ("red", "It is on the left.", " ")]
    (source / "a.json").write_text(json.dumps(rows))
    arguments = ["convert", "columns", "--source", source, "--out", out, "--option", "question=problem"]
    arguments += ["--option", "images=null", "--without-judged", "--max-pixels", "9000"]
    refused = run(*arguments, "--max-left-out", "0.1")
    assert refused.exit_code == 2 and "empty_answer 1" in " ".join(refused.output.split())
    done = run(*arguments, "--max-left-out", "0.4")
    assert done.exit_code == 0, done.output
    assert "left out: judged" in done.stdout and "left out: empty_answer" in done.stdout
    about = json.loads((out / "conversion.json").read_text())
    assert about["options"] == {"question": "problem", "images": None} and about["rows"] == 1
    assert (about["max_pixels"], about["without_judged"]) == (9000, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["virl39", "--source", "."], "did you mean"),
        (["virl39k", "--source", "nowhere.parquet"], "--source nowhere.parquet does not exist: give the folder"),
        (["virl39k", "--source", "{file}"], "is a file: give its folder, "),
        (["virl39k", "--source", "{folder}"], "It holds a.png, deep/."),
        (["virl39k", "--source", ".", "--option", "x"], "write NAME=VALUE"),
        (["deepeyes", "--source", ".", "--option", "x=1"], "has no options"),
    ],
)
def test_mistake_ends_with_a_message(tmp_path, arguments, message):
    folder = tmp_path / "published"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.png").touch()
    given = [text.format(folder=folder, file=folder / "a.png") for text in arguments]
    done = run("convert", *given, "--out", tmp_path / "out")
    words = " ".join(done.output.replace("│", " ").split())
    assert done.exit_code == 2 and message in words and "Traceback" not in words
    assert "data convert [OPTIONS]" in words and "data convert --help" in words


def test_list_shows_every_built_in_data_set():
    done = run("list")
    assert done.exit_code == 0 and all(name in done.stdout for name in DATA_SETS.names)
