# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The command line: help texts, the arguments of a launch, and the files that a launch writes."""

from __future__ import annotations

import json
import re
import shlex
from types import SimpleNamespace

import pytest
import torch
from hydra import compose, initialize_config_dir, initialize_config_module
from typer.testing import CliRunner

from verl_mapo import cli, launcher
from verl_mapo.run_folder import RunFolder
from verl_mapo.run_lock import held

RECIPE = """
hydra:
  searchpath: [pkg://verl.trainer.config, pkg://verl_mapo.config]
defaults:
  - ppo_trainer
  - method: axpo
  - optional stack: null
  - _self_
data: {train_batch_size: 7}
"""


@pytest.fixture
def launches(monkeypatch):
    """The launches of a test, none of which starts a process."""
    calls = []

    def launch(arguments, **options):
        calls.append((arguments, options))
        return 0

    monkeypatch.setattr(launcher, "launch", launch)
    return calls


def invoke(*arguments: str):
    return CliRunner().invoke(cli.app, list(arguments))


def test_help_lists_every_command():
    text = invoke("--help").stdout
    assert all(command in text for command in ("doctor", "toy", "data", "probe", "train", "eval", "report"))


@pytest.mark.parametrize("command", ["doctor", "toy", "data convert", "data list", "probe", "train", "eval", "report"])
def test_every_command_has_a_help_text(command):
    done = invoke(*command.split(), "--help")
    assert done.exit_code == 0 and len(done.stdout.splitlines()) > 5


def test_train_writes_into_the_run_folder(launches, tmp_path):
    assert invoke("train", "--run", str(tmp_path / "run"), "--timeout-h", "2", "method=axpo").exit_code == 0
    [(arguments, options)] = launches
    folder = RunFolder((tmp_path / "run").resolve())
    assert arguments[:4] == ["--config-path", "pkg://verl_mapo.config", "--config-name", "run"]
    assert f"trainer.rollout_data_dir={folder.trajectories}" in arguments
    assert f"trainer.default_local_dir={folder.checkpoints}" in arguments
    assert f"hydra.run.dir={folder.hydra}" in arguments and arguments[-1] == "method=axpo"
    assert not any(argument.startswith("trainer.logger") for argument in arguments), "the recipe's loggers are kept"
    assert options["timeout_s"] == 7200 and options["log"] == folder.log
    assert options["env"]["VERL_FILE_LOGGER_PATH"] == str(folder.path / "metrics" / "000.jsonl")
    about = json.loads(folder.about.read_text())
    assert about["arguments"] == arguments and "verl" in about["versions"]


def test_recipe_is_the_primary_configuration_and_no_time_limit_is_set(launches, tmp_path):
    recipe = tmp_path / "a b=1" / "my.recipe.yaml"
    recipe.parent.mkdir()
    recipe.write_text(RECIPE)
    assert invoke("train", "--recipe", str(recipe), "--run", str(tmp_path / "run"), "trainer.nnodes=2").exit_code == 0
    [(arguments, options)] = launches
    assert arguments[:4] == ["--config-path", str(recipe.parent), "--config-name", "my.recipe"]
    assert options["timeout_s"] is None and arguments[-1] == "trainer.nnodes=2"
    with initialize_config_dir(arguments[1], version_base=None):
        config = compose(arguments[3], arguments[4:])
    assert config.algorithm.adv_estimator == "axpo" and config.data.train_batch_size == 7


@pytest.mark.parametrize("choice", ["cluster=64", "+cluster=64", "trainer.nnodes=8"])
def test_cluster_is_chosen_by_its_number_of_gpus(launches, tmp_path, choice):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(RECIPE if choice[0] == "+" else RECIPE.replace("_self_", "_self_\n  - optional cluster: null"))
    assert invoke("train", "--recipe", str(recipe), "--run", str(tmp_path / "run"), choice).exit_code == 0
    [(arguments, _)] = launches
    with initialize_config_dir(arguments[1], version_base=None):
        config = compose(arguments[3], arguments[4:])
    assert config.trainer.nnodes == 8 and config.data.train_batch_size == 7


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--recipe", "no/such.yaml"], "--recipe no/such.yaml does not exist: give the path"),
        (["--recipe", "README.md"], "is no .yaml file"),
        (["--recipe", "recipes/mapo/qwen3_vl_8b.yaml", "--config", "run"], "are both given: leave one out"),
        (["--config", "runn"], "--config runn is refused: choose one of bench, run, sft"),
        (["algorithm.mapo.bta=1"], "algorithm.mapo.bta is not a setting; did you mean algorithm.mapo.beta?"),
        (["--recipie", "recipes/mapo/qwen3_vl_8b.yaml"], "--recipie is no option of this command"),
    ],
)
@pytest.mark.parametrize("command", ["train", "eval", "probe"])
def test_configuration_that_cannot_be_used_is_refused_before_anything_is_written(
    launches, tmp_path, command, options, words
):
    done = invoke(command, "--run", str(tmp_path / "run"), *options)
    assert done.exit_code == 2 and not launches and not (tmp_path / "run").exists()
    assert words in " ".join(re.sub("[│\n]", " ", done.output).split())


def test_refused_run_shows_its_sentence_and_not_the_end_of_the_output(tmp_path, monkeypatch):
    def launch(arguments, *, echo, **_):
        for line in ("INFO: imports", "verl-mapo: algorithm.mapo.beta=-1 is refused.", "INFO: more"):
            echo(line + "\n")
        return launcher.REFUSED

    monkeypatch.setattr(launcher, "launch", launch)
    done = invoke("train", "--run", str(tmp_path / "run"), "stack=cpu")
    assert done.exit_code == launcher.REFUSED
    assert done.stdout == "verl-mapo: algorithm.mapo.beta=-1 is refused.\n"


def test_every_attempt_has_its_own_metrics_file(launches, tmp_path):
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "000.jsonl").touch()
    invoke("train", "--run", str(tmp_path))
    [(_, options)] = launches
    assert options["env"]["VERL_FILE_LOGGER_PATH"].endswith("metrics/001.jsonl")


def test_folder_that_another_command_uses_is_refused_and_stays_as_it_is(launches, tmp_path):
    folder = RunFolder(tmp_path.resolve())
    with held(folder):
        done = invoke("train", "--run", str(tmp_path))
    assert done.exit_code == 2 and "is in use by another command" in " ".join(done.output.replace("│", " ").split())
    assert not launches and [*folder.path.iterdir()] == [folder.lock]
    assert invoke("train", "--run", str(tmp_path)).exit_code == 0 and launches


@pytest.mark.parametrize("cuda", [True, False])
def test_cpu_stack_is_added_without_an_accelerator(launches, tmp_path, monkeypatch, cuda):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    done = invoke("train", "--run", str(tmp_path))
    [(arguments, _)] = launches
    assert ("stack=cpu" in arguments) is not cuda
    assert ("no GPU is found on this machine, so that stack=cpu is used" in done.output) is not cuda
    assert "no GPU is found" not in invoke("train", "--run", str(tmp_path), "stack=cpu").output


@pytest.mark.parametrize("hours", ["0", "-1", "nan"])
def test_time_limit_that_is_not_positive_is_refused(launches, tmp_path, hours):
    done = invoke("train", "--run", str(tmp_path / "run"), "--timeout-h", hours)
    assert done.exit_code == 2 and not launches and not (tmp_path / "run").exists()
    assert f"--timeout-h {hours} is refused" in " ".join(re.sub("[│\n]", " ", done.output).split())


def test_eval_only_validates(launches, tmp_path):
    invoke("eval", "--run", str(tmp_path), "trainer.val_before_train=false")
    [(arguments, _)] = launches
    assert arguments[-4:] == [
        "data.train_files=${data.val_files}",
        "trainer.val_before_train=false",
        "trainer.val_only=true",
        "trainer.val_before_train=true",
    ]


@pytest.mark.parametrize(
    "name", ["lr=1e-4", "实验1", "mapo (copy)", "a, [b] {c}", 'it\'s "$HOME"', "$x\\", "-#:~", "new\nline", "[/b]"]
)
def test_run_folder_may_have_any_name(launches, tmp_path, name):
    assert invoke("train", "--run", str(tmp_path / name)).exit_code == 0
    [(arguments, options)] = launches
    with initialize_config_module("verl_mapo.config", version_base=None):
        config = compose("run", [*arguments[4:], "hydra.job.name=any"], return_hydra_config=True)
    folder = RunFolder((tmp_path / name).resolve())
    assert config.hydra.run.dir == str(folder.hydra) and options["log"] == folder.log
    assert config.trainer.rollout_data_dir == str(folder.trajectories)
    assert config.trainer.default_local_dir == str(folder.checkpoints)


def test_run_folder_that_hydra_cannot_write_into_is_refused_in_words(launches, tmp_path):
    done = invoke("train", "--run", str(tmp_path / "${x}"))
    assert done.exit_code == 2 and not launches and not (tmp_path / "${x}").exists()
    assert "hydra cannot write into a folder with ${" in " ".join(re.sub("[│\n]", " ", done.output).split())


def test_override_that_hydra_cannot_read_stops_the_command_in_words(launches, tmp_path):
    done = invoke("train", "--run", str(tmp_path / "run"), "actor_rollout_ref.model.path=/models/lr=1e-4")
    assert done.exit_code == 2 and not launches and not (tmp_path / "run").exists()
    assert 'actor_rollout_ref.model.path="/models/lr=1e-4"' in "".join(done.output.split("\n"))


def test_toy_prints_overrides_for_a_shell(tmp_path, monkeypatch):
    toy = SimpleNamespace(train="/a b/train.parquet", test="/a b/lr=1.parquet", model="/a b/model", clip="/clip")
    monkeypatch.setattr("verl_mapo.toy.prepare.prepare", lambda *_, **__: toy)
    words = shlex.split(invoke("toy", "--out", str(tmp_path)).stdout)
    assert words == [
        'data.train_files="/a b/train.parquet"',
        'data.val_files="/a b/lr=1.parquet"',
        'actor_rollout_ref.model.path="/a b/model"',
        "reward.description_alignment.scorer.model=/clip",
    ]


@pytest.mark.parametrize("method", ["mapo", "axpo", "vgpo"])
def test_method_selects_estimator_and_keeps_all_nodes(method):
    with initialize_config_module("verl_mapo.config", version_base=None):
        config = compose("run", [f"method={method}"])
    assert config.algorithm.adv_estimator == method
    assert config.algorithm.mapo.beta == 0.4 and config.algorithm.visual_credit.enable is False
    assert ("axpo" in config.algorithm) is (method == "axpo")
    assert config.actor_rollout_ref.rollout.agent.default_agent_loop == "visual_tool_agent"
