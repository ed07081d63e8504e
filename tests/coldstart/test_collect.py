# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Supervised rows of recorded rollouts: what they hold, that they can be replayed, and that no order matters."""

from __future__ import annotations

import json
import random
import shutil

import pyarrow.parquet as pq
import pytest
from support.chat_server import ChatServer
from support.rewards import served
from support.served_rows import TURNS, config_of, script, server_run, write_questions
from support.supervised import write_rows

from verl_mapo.coldstart.collect import collect
from verl_mapo.coldstart.filters import FilterSettings, Removal
from verl_mapo.coldstart.replay import Replayer
from verl_mapo.run_lock import LOCK, locked
from verl_mapo.settings import ConfigError
from verl_mapo.training.questions import Questions


@pytest.fixture(scope="module")
def model(tiny_models):
    return tiny_models["qwen2_5_vl"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("collect")


@pytest.fixture(scope="module")
def config(model, folder, picture):
    return config_of(model, write_questions(folder / "rows.parquet", picture))


@pytest.fixture(scope="module")
def run(model, config, folder):
    """Two equal rollouts of each of three questions: right with a call, wrong, right without."""
    app = ChatServer(script)
    with served(app) as app.url:
        server_run(model, config.data.train_files, folder / "run", app).roll_out()
    return folder / "run"


def test_right_rollouts_become_rows_of_the_data_with_their_turns(config, run, tmp_path):
    collection = collect(config, [run], tmp_path, FilterSettings())
    rows = pq.read_table(collection.file).to_pylist()
    assert [row["turns"] for row in rows] == [TURNS["with a look"], TURNS["without a look"]]
    questions = pq.read_table(config.data.train_files).to_pylist()
    for row, question in zip(rows, (questions[0], questions[2]), strict=True):
        assert {name: row[name] for name in question} == question, "every column is as it was"
    assert (collection.rollouts, collection.rows, collection.calling, collection.questions) == (6, 2, 1, 2)
    assert collection.removed == {Removal.WRONG: 2, Removal.DUPLICATE: 2}
    about = json.loads((tmp_path / "collection.json").read_text())
    assert about["counts"]["removed"] == {"wrong": 2, "duplicate": 2} and about["counts"]["rows_with_calls"] == 1
    (source,) = about["sources"]
    assert (source["model"], source["temperature"], source["rollouts"]) == ("teacher", 1.0, 6)
    assert "verl" in source["versions"] and about["filters"]["per_question"] == 1
    left_out = [json.loads(line) for line in (tmp_path / "left_out.jsonl").read_text().splitlines()]
    assert sorted(entry["reason"] for entry in left_out) == ["duplicate"] * 2 + ["wrong"] * 2


def test_box_and_share_of_calls_choose_among_the_rows(config, run, tmp_path):
    far = collect(config, [run], tmp_path / "far", FilterSettings(min_iou=0.5))
    assert far.removed[Removal.FAR_BOX] == 2 and far.calling == 0
    balanced = collect(config, [run], tmp_path / "calling", FilterSettings(tool_share=1.0))
    assert (balanced.rows, balanced.calling, balanced.removed[Removal.BALANCE]) == (1, 1, 1)


def test_files_do_not_depend_on_the_order_of_the_records(config, run, tmp_path, folder):
    copy = tmp_path / "run"
    file = copy / "trajectories" / "val" / "0.jsonl"
    file.parent.mkdir(parents=True)
    lines = (run / "trajectories" / "val" / "0.jsonl").read_text().splitlines(keepends=True)
    random.Random(0).shuffle(lines)
    file.write_text("".join(lines))
    (copy / "run.json").write_bytes((run / "run.json").read_bytes())
    (copy / "hydra" / ".hydra").mkdir(parents=True)
    (copy / "hydra" / ".hydra" / "config.yaml").write_bytes((run / "hydra" / ".hydra" / "config.yaml").read_bytes())
    for each, out in ((run, tmp_path / "a"), (copy, tmp_path / "b")):
        collect(config, [each], out, FilterSettings(per_question=None, seed=3))
    for name in ("train.parquet", "left_out.jsonl", "collection.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_rollouts_of_other_questions_are_left_out(model, config, run, tmp_path, picture):
    other = config_of(model, write_questions(tmp_path / "other.parquet", picture, ("another", "with a look")))
    collection = collect(other, [run], tmp_path, FilterSettings())
    assert collection.file is None and collection.removed == {Removal.UNKNOWN_QUESTION: 6}
    assert not (tmp_path / "train.parquet").exists()


def test_other_rows_are_not_replaced(config, run, tmp_path):
    data = config.copy()
    data.data.train_files = str(shutil.copy(config.data.train_files, tmp_path / "train.parquet"))
    with pytest.raises(ConfigError, match="train.parquet is one of data.train_files, and would be replaced"):
        collect(data, [run], tmp_path, FilterSettings())
    with pytest.raises(ConfigError, match="train.parquet was not written by verl-mapo collect"):
        collect(config, [run], tmp_path, FilterSettings())
    assert len(pq.read_table(tmp_path / "train.parquet")) == 3
    for _ in range(2):
        assert collect(config, [run], tmp_path / "rows", FilterSettings()).rows == 2, "an earlier one is replaced"
    with locked(tmp_path / "rows" / LOCK), pytest.raises(ConfigError, match="in use by another command"):
        collect(config, [run], tmp_path / "rows", FilterSettings())


def test_run_without_rollouts_is_refused(config, run, tmp_path):
    (tmp_path / "trajectories").mkdir()
    with pytest.raises(ConfigError, match="has no recorded rollouts"):
        collect(config, [run, tmp_path], tmp_path, FilterSettings())


def test_collected_boxes_are_trained_as_they_were_written(model, run, supervised, tmp_path, picture):
    """The questions come from a converted set, whose own turns have boxes in thousandths."""
    questions = pq.read_table(write_questions(tmp_path / "rows.parquet", picture)).to_pylist()
    for row in questions:
        row["turns"], row["extra_info"]["more"] = ["<answer>no</answer>"], '{"box_units": "normalized_1000", "a": 1}'
    file = write_rows(tmp_path / "converted.parquet", questions)
    collected = collect(config_of(model, file), [run], tmp_path / "out", FilterSettings()).file
    assert [row["extra_info"]["more"] for row in pq.read_table(collected).to_pylist()] == ['{"a": 1}'] * 2
    rows = supervised(model, collected)
    assert rows.verdicts[0].findings == ()
    trained = ["".join(part.text for part in group) for group in rows.replay(0).trajectory.assistant_turns]
    assert trained == TURNS["with a look"], "box in pixels and label are as the model wrote them"


def test_rows_are_replayed_without_a_finding(model, config, run, tmp_path):
    collection = collect(config, [run], tmp_path, FilterSettings())
    config = config.copy()
    config.data.train_files = str(collection.file)
    questions = Questions(config)
    replayer = Replayer(config, model.tokenizer, model.processor)
    rows = list(questions)
    assert len(rows) == 2
    for row in rows:
        replay = replayer.replay(row["raw_prompt"], row["turns"])
        assert replay.findings == [] and sum(replay.mask) > 0
