# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The examples of docs/extending.md: one new file each, installed by pip, used through the public configuration."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from PIL import Image
from support.examples import EXAMPLES, METHOD_OVERRIDES, OVERRIDES, PACKAGES, install
from support.fake_queue import scored_rows
from support.scripted import play, prompt_of
from typer.testing import CliRunner

from verl_mapo.cli import app
from verl_mapo.rewards.answers import find_check
from verl_mapo.rewards.scorers.base import build_scorer
from verl_mapo.rewards.settings import alignment_settings
from verl_mapo.rollout.statuses import TurnStatus
from verl_mapo.rollout.trajectory import Trajectory, Turn
from verl_mapo.training.config_checks import check_config, uses_this_package

CALL = '<tool_call>{"name": "contrast", "arguments": {"strength": 2.0}}</tool_call>'


@pytest.fixture(scope="module", autouse=True)
def installed(tmp_path_factory):
    """The examples, importable for the tests of this module only."""
    folder = tmp_path_factory.mktemp("site")
    install(folder)
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    yield
    sys.path.remove(str(folder))
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(folder)):
            del sys.modules[name]


@pytest.fixture(scope="module")
def config(installed):
    GlobalHydra.instance().clear()
    base = ["data.max_prompt_length=1024", "data.max_response_length=1024"]
    with initialize_config_module("verl_mapo.config", version_base=None):
        return compose("run", [*base, *METHOD_OVERRIDES, *OVERRIDES])


def test_method_is_one_python_file_and_one_yaml_and_everything_else_is_one_file():
    for package in PACKAGES:
        files = [path for path in package.rglob("*") if path.is_file() and path.suffix in (".py", ".yaml")]
        expected = [".py", ".yaml"] if package.name == "method" else [".py"]
        assert sorted(path.suffix for path in files) == expected, package.name
        assert all(len(path.read_text().splitlines()) <= 60 for path in files), package.name
    assert {package.name for package in PACKAGES} == {"answer_check", "data_set", "method", "scorer", "tool"}


def test_configuration_with_all_examples_passes_every_check(config):
    assert uses_this_package(config)
    check_config(config)


def test_method_gives_the_bonus_to_correct_tool_users_and_logs_it(queue, make_trainer, config):
    call = Turn((0, 3), "x", TurnStatus.OK, tool="zoom")
    trajectories = [Trajectory([], [], turns) for turns in ([call], [], [call], [])]
    queue.fields.update(scored_rows([torch.ones(3)] * 4, [1.0, 1.0, 0.0, 0.0], trajectories))
    queue.fields["uid"] = list("aaaa")
    trainer, metrics = make_trainer(config=config), {}
    trainer._compute_advantage(queue.batch([f"a_{row}_0" for row in range(4)]), metrics)
    value = torch.tensor([1.5, 1.0, 0.0, 0.0])
    expected = (value - value.mean()) / (value.std() + 1e-6)
    assert [row[0].item() for row in queue.fields["advantages"].unbind()] == pytest.approx(expected.tolist(), abs=1e-5)
    assert metrics["tool_bonus/share"] == 0.25


def test_tool_is_declared_executed_and_recorded_as_a_computed_image(config, model, picture):
    output = play(model, config, prompt_of(picture), [CALL, "<answer>a</answer>"])
    turn = output.state.trajectory.turns[0]
    assert (turn.tool, turn.status, turn.computed, turn.described) == ("contrast", TurnStatus.OK, True, False)
    assert "Raise the contrast of an image." in model.tokenizer.decode(output.prompt_ids)
    assert json.loads(json.dumps(turn.to_record()))["pixels"]


def test_scorer_is_built_with_its_own_options(config):
    scorer = build_scorer(alignment_settings(config).scorer)
    red = Image.new("RGB", (8, 8), "red")
    assert scorer.score(["a red square", "a blue square", "a square"], [red] * 3) == pytest.approx(
        [1, 0.1835, 0], abs=1e-3
    )


def test_answer_check_is_found_by_its_dotted_path(config):
    check = find_check(config.reward.description_alignment.outcome)
    assert check("red, blue", "blue and red", options=(), tolerance=0.0)
    assert not check("red", "blue and red", options=(), tolerance=0.0)


def test_data_set_is_converted_by_the_command(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    with (tmp_path / "questions.csv").open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["image", "question", "answer"])
        lines.writerow(["a.png", "What is this?", "square"])
    out = tmp_path / "out"
    command = ["data", "convert", "csv_questions.CsvQuestions", "--source", str(tmp_path), "--out", str(out)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    (row,) = pq.read_table(out / "train.parquet").to_pylist()
    assert row["images"] == [{"image": f"file://{tmp_path / 'a.png'}"}]
    assert json.loads(row["extra_info"]["more"]) == {"file": "a.png"} and row["reward_model"]["style"] == "exact"


def test_every_example_is_shown_in_the_page_about_extending():
    page = (EXAMPLES.parent / "extending.md").read_text()
    for package in PACKAGES:
        assert f"examples/{package.name}" in page, package.name
    for override in (*METHOD_OVERRIDES, *OVERRIDES):
        assert override in page, override
    assert Path(EXAMPLES, "method", "tool_bonus", "method", "tool_bonus.yaml").is_file()
