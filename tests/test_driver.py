# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""verl's main_ppo as the launcher starts it: the checks come before Ray. verl's own entry is scripted here."""

from __future__ import annotations

import pytest
import ray
from ray.exceptions import ActorDiedError, RayTaskError
from support.scripted import compose_config

from verl_mapo import driver
from verl_mapo.launcher import REFUSED
from verl_mapo.ray_errors import reason


@pytest.fixture
def started(monkeypatch):
    """The runs that verl's main_ppo would have started, of the configuration in ``started.config``."""

    class Started(list):
        config = None

    calls = Started()
    monkeypatch.setattr(driver.main_ppo, "run_ppo", lambda config, task_runner_class: calls.append(task_runner_class))
    monkeypatch.setattr(driver.main_ppo, "main", lambda: driver.main_ppo.run_ppo(calls.config, object))
    return calls


def test_mistake_ends_the_process_before_ray_starts_with_one_sentence(started, capsys):
    started.config = compose_config("algorithm.mapo.beta=-1")
    with pytest.raises(SystemExit) as ended:
        driver.main()
    assert ended.value.code == REFUSED and not started and not ray.is_initialized()
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("verl-mapo: ") and "algorithm.mapo.beta=-1 is refused" in line


def test_run_that_passes_is_handed_to_verl_with_the_trainer_on_this_node(started, monkeypatch):
    monkeypatch.setattr("verl_mapo.training.start_checks.check_start", lambda config: None)
    monkeypatch.setenv(driver.METRICS_FILE, "metrics.jsonl")
    started.config = compose_config("trainer.logger=[console]")
    driver.main()
    (runner,) = started
    assert isinstance(runner, driver.TrainerHere)
    assert list(started.config.trainer.logger) == ["console", "file"]


def test_failure_of_the_trainer_is_told_in_one_line_by_its_first_reason(started, monkeypatch, capsys):
    """Ray wraps an error once for each actor through which it comes."""
    monkeypatch.setattr("verl_mapo.training.start_checks.check_start", lambda config: None)
    inner = RayTaskError("save", "traceback", RuntimeError("No space\n  left."))
    outer = RayTaskError("run", "traceback", inner).as_instanceof_cause()

    def fail(config, task_runner_class):
        raise outer

    monkeypatch.setattr(driver.main_ppo, "run_ppo", fail)
    started.config = compose_config()
    with pytest.raises(RayTaskError):
        driver.main()
    assert capsys.readouterr().err == "verl-mapo: the trainer has failed: No space left.\n"
    assert reason(ActorDiedError()).startswith("ActorDiedError: ")
    assert reason(RayTaskError("run", "", KeyError("x"))) == "KeyError: 'x'"


@pytest.mark.parametrize(
    ("given", "expected"),
    [("[console,file]", ["console", "file"]), ("wandb", ["wandb", "file"]), ("[]", ["file"])],
)
def test_metrics_file_is_written_beside_other_loggers(monkeypatch, given, expected):
    monkeypatch.setenv(driver.METRICS_FILE, "metrics.jsonl")
    config = compose_config(f"trainer.logger={given}")
    driver.log_to_file(config)
    assert list(config.trainer.logger) == expected
