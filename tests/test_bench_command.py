# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""``verl-mapo bench``: the list, and the preparation of a benchmark with the shares of its letters."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.official_files import vstar_annotations, written
from typer.testing import CliRunner

from verl_mapo.benchmarks import BENCHMARKS
from verl_mapo.cli import app


def bench(*arguments: str):
    return CliRunner().invoke(app, ["bench", *arguments], env={"COLUMNS": "200"})


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
    assert message in " ".join(done.output.replace("│", " ").split())
