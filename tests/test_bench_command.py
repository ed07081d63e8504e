# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""``verl-mapo bench``: the list, and the preparation of a benchmark with the shares of its letters."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.official_files import vstar_annotations, written
from typer.testing import CliRunner

from verl_mapo.benchmarks import BENCHMARKS
from verl_mapo.benchmarks.answers import QuestionAnswers, write_answers
from verl_mapo.cli import app
from verl_mapo.data.rows import make_row, schema


def bench(*arguments: str):
    return CliRunner().invoke(app, ["bench", *arguments], env={"COLUMNS": "200"})


def words(done) -> str:
    return " ".join(done.output.replace("│", " ").split())


@pytest.fixture
def judged(tmp_path, monkeypatch) -> Path:
    """A folder with two runs that answered one question, and the question beside files that are none."""
    monkeypatch.chdir(tmp_path)
    target = {"style": "multiple_choice", "ground_truth": "A", "options": ["red", "blue"]}
    rows = pa.Table.from_pylist([make_row("vstar", 0, "Which?", [], target)], schema())
    pq.write_table(rows, "train.parquet")
    pq.write_table(rows.drop_columns("data_source"), "other.parquet")
    pq.write_table(rows.set_column(4, "extra_info", pa.array(["none"])), "flat.parquet")
    Path("text.parquet").write_text("no parquet")
    Path("folder").mkdir()
    pq.write_table(rows, "folder/train.parquet")
    for name in ("one", "two"):
        Path(name).mkdir()
        answer = QuestionAnswers("vstar", "0", "", "A", ["A"], ["A"], [True], [True], [False], [""], [None], "0")
        write_answers([answer], Path(name) / "answers.jsonl")
    return tmp_path


PREPARED = "give a file of 'verl-mapo bench prepare', such as benchmarks/vstar/train.parquet"
WRONG = {
    "text.parquet": "--data text.parquet cannot be read as parquet (",
    "other.parquet": "--data other.parquet holds other rows, for it has no data_source as prepared rows have",
    "flat.parquet": "--data flat.parquet holds other rows, for it has no extra_info",
    "folder": "--data folder is a folder: give the file in it, folder/train.parquet.",
}


@pytest.mark.parametrize("data", WRONG)
@pytest.mark.parametrize("command", ["score", "export"])
def test_data_that_is_not_prepared_is_refused(judged, command, data):
    more = ["--model", "tiny", "--out", "out"] if command == "export" else []
    done = bench(command, "one", "--data", data, *more)
    assert done.exit_code == 2 and WRONG[data] in words(done), done.output
    assert data == "folder" or PREPARED in words(done)
    assert not Path("out").exists()


@pytest.mark.parametrize(("model", "right"), [("Qwen/Qwen2.5-VL", "Qwen2.5-VL"), ("/", "Qwen2.5-VL-7B-Instruct")])
def test_name_with_folders_is_no_name_of_a_model_in_vlmevalkit(judged, model, right):
    done = bench("export", "one", "--data", "train.parquet", "--model", model, "--out", "out")
    assert done.exit_code == 2 and f"--model {model} is refused" in words(done)
    assert f"give a name without folders, for example {right}." in words(done)


@pytest.mark.parametrize(
    "arguments",
    [
        ["compare", "one", "two"],
        ["causes", "one", "two"],
        ["export", "one", "--data", "train.parquet", "--model", "tiny"],
    ],
)
def test_folder_to_write_to_is_checked_before_anything_is_printed(judged, arguments):
    done = bench(*arguments, "--out", "train.parquet")
    assert done.exit_code == 2 and "--out train.parquet is a file: give a folder." in words(done)
    assert not done.stdout
    assert bench(*arguments, "--out", "out").exit_code == 0 and any(Path("out").iterdir())


def test_file_to_write_to_is_no_folder(judged):
    done = bench("score", "one", "--data", "train.parquet", "--out", "folder")
    assert done.exit_code == 2
    assert "--out folder is a folder: give a file, for example folder/answers.jsonl." in words(done)


def test_list_shows_every_benchmark_with_its_number_of_questions():
    shown = bench("list").stdout
    assert all(name in shown and str(BENCHMARKS.find(name).questions) in shown for name in BENCHMARKS.names)


def test_prepare_prints_letters_what_is_known_and_the_setting(tmp_path, monkeypatch):
    monkeypatch.setattr(BENCHMARKS.find("vstar"), "questions", 40)
    vstar_annotations(tmp_path / "source", 40)
    done = bench("prepare", "vstar", "--source", str(tmp_path / "source"), "--out", str(tmp_path / "out"))
    assert done.exit_code == 0, done.output
    [letters] = [line for line in done.stdout.splitlines() if line.startswith("Right letters: ")]
    assert all(f"{letter} " in letters for letter in "ABCD") and "100.0%" not in letters
    assert "lmms-eval's rule reads 'Answer: C' as A" in done.stdout
    [line] = [line for line in done.stdout.splitlines() if line.startswith("data.val_files=")]
    assert pq.read_table(Path(line.partition("=")[2])).num_rows == 40


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["vstars"], "did you mean"),
        (["mmstar"], "has no file of mmstar"),
        (["vstar", "--option", "seeds=1"], "seed"),
        (["vstar"], "has 3 questions, and vstar has 191"),
    ],
)
def test_mistake_ends_with_a_sentence(tmp_path, arguments, message):
    written("vstar", tmp_path / "source", 3)
    done = bench("prepare", *arguments, "--source", str(tmp_path / "source"), "--out", str(tmp_path / "out"))
    assert done.exit_code == 2 and "Traceback" not in done.output
    assert message in words(done)
