# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Exported predictions have the names, columns and cells of VLMEvalKit's own files, read as it reads them."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest
from typer.testing import CliRunner

from verl_mapo.benchmarks.answers import QuestionAnswers, write_answers
from verl_mapo.benchmarks.vlmevalkit import prediction_table, write_predictions
from verl_mapo.cli import app
from verl_mapo.data.rows import make_row, schema
from verl_mapo.settings import ConfigError

READ = {
    "xlsx": pd.read_excel,
    "tsv": lambda file: pd.read_csv(file, sep="\t"),
    "json": lambda file: pd.read_json(file, orient="records"),
}
"""How VLMEvalKit loads each format."""

REPLIES = ["=1+1 is no formula", '"C"\tbecause\nof it', "叁", "https://example.org"]
COLUMNS = ["index", "question", "A", "B", "C", "answer", "category", "cycle_category", "prediction"]


@pytest.fixture
def rows() -> dict:
    options = [["red", "blue"], ["red", "blue", "green"]]
    made = {}
    for place in range(4):
        texts = options[place % 2]
        listed = "\n".join(f"({letter}) {text}" for letter, text in zip("ABC", texts, strict=False))
        target = {"style": "multiple_choice", "ground_truth": "B", "options": texts}
        more = {"category": "single", "cycle_category": str(place)}
        made["hrbench_4k", str(place)] = make_row("hrbench_4k", place, f"Which?\n{listed}", [], target, more=more)
    return made


@pytest.fixture
def answers() -> list[QuestionAnswers]:
    verdicts = [True, None]
    return [
        QuestionAnswers("hrbench_4k", str(place), "single", "B", [reply, f"{reply}!"], ["B", "B"], verdicts, verdicts,
                        [True, True], ["", ""], [None, None], "0")
        for place, reply in enumerate(REPLIES)
    ]  # fmt: skip


@pytest.mark.parametrize("form", READ)
def test_file_is_read_back_as_vlmevalkit_reads_it(tmp_path, rows, answers, form):
    file = write_predictions(prediction_table(answers, rows), tmp_path, "Qwen3-VL-8B", "HRBench4K", form)
    assert file.name == f"Qwen3-VL-8B_HRBench4K.{form}"
    found = READ[form](file)
    assert list(found.columns) == COLUMNS and found["index"].tolist() == [0, 1, 2, 3]
    assert found["prediction"].tolist() == REPLIES and set(found["question"]) == {"Which?"}
    assert found["C"].isna().tolist() == [True, False, True, False] and set(found["answer"]) == {"B"}


def test_another_sample_is_exported_and_one_that_is_missing_is_an_error(rows, answers):
    assert prediction_table(answers, rows, sample=1)["prediction"][2] == "叁!"
    with pytest.raises(ConfigError, match="--sample 2 is refused: hrbench_4k 0 has 2 answers"):
        prediction_table(answers, rows, sample=2)
    with pytest.raises(ConfigError, match="--data has no question hrbench_4k 3"):
        prediction_table(answers[3:], {place: row for place, row in rows.items() if place[1] != "3"})


def test_text_that_excel_would_lose_is_an_error(tmp_path, rows, answers):
    table = prediction_table([replace(answers[0], replies=["x" * 40_000])], rows)
    with pytest.raises(ConfigError, match="a text has 40000 characters, .*: use --form tsv"):
        write_predictions(table, tmp_path, "m", "d", "xlsx")
    assert len(READ["tsv"](write_predictions(table, tmp_path, "m", "d", "tsv"))["prediction"][0]) == 40_000


def test_command_writes_a_file_for_each_benchmark(tmp_path, rows, answers):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist([*rows.values()], schema()), tmp_path / "train.parquet")
    write_answers(answers, tmp_path / "answers.jsonl")
    given = ["bench", "export", str(tmp_path), "--data", str(tmp_path / "train.parquet"), "--model", "tiny"]
    done = CliRunner().invoke(app, [*given, "--out", str(tmp_path / "out"), "--form", "json"])
    assert done.exit_code == 0, done.output
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["tiny_HRBench4K.json"]
