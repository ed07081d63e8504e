# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Rollouts of a model on a server: their records, failures, and how an interrupted run goes on."""

from __future__ import annotations

import json

import pytest
from omegaconf import OmegaConf
from support.chat_server import ChatServer
from support.rewards import served
from support.served_rows import QUESTIONS, config_of, script, server_run, write_questions

from verl_mapo.report.load import RunData
from verl_mapo.run_lock import held
from verl_mapo.server_run import ServerDown, ServerRun, ServerSettings, made
from verl_mapo.settings import ConfigError


@pytest.fixture
def server():
    app = ChatServer(script)
    with served(app) as app.url:
        yield app


@pytest.fixture
def model(tiny_models):
    return tiny_models["qwen2_5_vl"]


@pytest.fixture
def data(tmp_path, picture):
    return write_questions(tmp_path / "rows.parquet", picture)


def test_missing_rollouts_are_made_by_the_same_command(model, data, tmp_path, server):
    server.faults = [500]
    run = server_run(model, data, tmp_path / "run", server)
    run.roll_out()
    assert sum(run.failures.values()) == 1 and "InternalServerError" in next(iter(run.failures))
    (failure,) = map(json.loads, run.folder.failures.read_text().splitlines())
    assert failure["session"] == 0 and "InternalServerError" in failure["reason"]
    with run.file.open("a") as file:
        file.write('{"question_id": "cut by a ki')
    asked = len(server.seen)
    again = server_run(model, data, tmp_path / "run", server)
    again.roll_out()
    assert len(server.seen) == asked + 2 and not again.failures, "only the lost rollout of two turns is made"
    rollouts = RunData.open(run.folder.path).rollouts(0, "val")
    assert sorted((rollout.question, rollout.session) for rollout in rollouts) == sorted(
        (question, session) for question in QUESTIONS for session in range(2)
    )
    by_question = {rollout.question: rollout for rollout in rollouts}
    assert {question: rollout.outcome for question, rollout in by_question.items()} == {
        "with a look": 1.0,
        "wrongly": 0.0,
        "without a look": 1.0,
    }
    looked = by_question["with a look"]
    assert looked.alignment == looked.trajectory.turns[0].score == 0.3
    assert by_question["wrongly"].alignment is None
    about = RunData.open(run.folder.path).about
    assert about["server"]["model"] == "teacher" and about["server"]["temperature"] == 1.0


def test_run_stops_when_the_server_gives_no_reply_or_refuses_the_model(model, data, tmp_path, server):
    server.faults = [500] * 8
    run = server_run(model, data, tmp_path / "down", server, n=4)
    with pytest.raises(ServerDown, match="no reply to 8 rollouts in a row: InternalServerError"):
        run.roll_out()
    assert len(server.seen) == 8 and run.failures.total() == 8
    server.faults = [404]
    run = server_run(model, data, tmp_path / "unknown", server)
    with pytest.raises(ServerDown, match="refuses the model teacher or the key"):
        run.roll_out()
    assert len(server.seen) == 9


def test_folder_that_another_command_uses_is_refused(model, data, tmp_path, server):
    run = server_run(model, data, tmp_path / "run", server)
    with held(run.folder), pytest.raises(ConfigError, match="is in use by another command"):
        made(run)
    assert not server.seen and made(run)


def test_rollouts_of_two_models_are_not_mixed(model, data, tmp_path, server, monkeypatch):
    server_run(model, data, tmp_path / "run", server, n=1).roll_out()
    server_run(model, data, tmp_path / "run", server, n=2)  # more of the same
    with pytest.raises(ConfigError, match="rollouts with server.model=teacher, and those with other are asked for"):
        server_run(model, data, tmp_path / "run", server, model="other")
    (tmp_path / "run" / "identity.json").unlink()
    with pytest.raises(ConfigError, match="holds rollouts of another kind"):
        server_run(model, data, tmp_path / "run", server)


def test_key_is_sent_and_settings_that_cannot_work_are_refused(model, data, tmp_path, server, monkeypatch):
    monkeypatch.setenv("TEACHER_KEY", "secret")
    server_run(model, data, tmp_path / "run", server, n=1, api_key_env="TEACHER_KEY").roll_out()
    assert server.keys == {"Bearer secret"}
    monkeypatch.delenv("TEACHER_KEY")
    with pytest.raises(ConfigError, match="--api-key-env='TEACHER_KEY' is not set"):
        server_run(model, data, tmp_path / "other", server, api_key_env="TEACHER_KEY")
    config = config_of(model, data)
    OmegaConf.update(config, "reward.reward_manager.name", "naive")
    with pytest.raises(ConfigError, match="reward.reward_manager.name=naive cannot score"):
        ServerRun(config, ServerSettings(server.url, "teacher"), tmp_path / "other")
