# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Which files a name stands for, and to which benchmarks their rows belong."""

from __future__ import annotations

import pytest
from support.official_files import written
from support.served_rows import write_questions

from verl_mapo.benchmarks import BENCHMARKS
from verl_mapo.evaluation.prepared import benchmarks_in, prepared_files
from verl_mapo.settings import ConfigError


def test_a_name_is_a_folder_a_file_or_a_benchmark_that_is_prepared_once(tmp_path, monkeypatch):
    monkeypatch.setattr(BENCHMARKS.find("vstar"), "questions", 3)
    source = written("vstar", tmp_path / "source", 3)
    (file,) = prepared_files(["vstar"], tmp_path / "benchmarks", str(source))
    assert file == tmp_path / "benchmarks" / "vstar" / "train.parquet" and file.is_file()
    before = file.stat().st_mtime_ns
    assert prepared_files(["vstar"], tmp_path / "benchmarks") == [file] and file.stat().st_mtime_ns == before
    assert prepared_files([str(file.parent), str(file)], tmp_path / "elsewhere") == [file, file]
    assert list(benchmarks_in([file])) == ["vstar"]
    with pytest.raises(ConfigError, match="The benchmark vstar is in two of the given files"):
        benchmarks_in([file, file])
    with pytest.raises(ConfigError, match="mmstar is not prepared in .* --source Lin-Chen/MMStar"):
        prepared_files(["mmstar", "blink"], tmp_path / "benchmarks", str(source))


def test_rows_of_no_benchmark_are_refused(tmp_path, picture):
    file = write_questions(tmp_path / "rows.parquet", picture)
    with pytest.raises(ConfigError, match="data_source='squares', which is no benchmark"):
        benchmarks_in([file])
