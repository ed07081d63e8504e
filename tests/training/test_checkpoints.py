# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""A run that is killed at any point goes on as if it had not been: verl's own training loop, killed at every event."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch
import transfer_queue as tq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf
from support.fake_queue import FakeQueue, jagged, scored_rows
from support.scripted import compose_config
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.checkpoint_callback import CheckpointCallback
from verl.trainer.ppo.v1 import PPOTrainerSync
from verl.utils.checkpoint.checkpoint_manager import BaseCheckpointManager
from verl.utils.tracking import FileLogger

from verl_mapo.report.load import RunData
from verl_mapo.run_folder import RunFolder
from verl_mapo.training.trainer import VisualTrainer, keep_marked_checkpoint

STEPS, SAVE_FREQ, TEST_FREQ = 3, 2, 2  # the last step is always saved and validated
VALIDATION = "val-core/s/acc/mean@1"


class Killed(BaseException):
    """The process is gone: nothing after it happens, and nothing that is left in memory reaches the disk."""


class Events:
    """The points at which a kill is tried.

    Attributes:
        names: of the events so far.
        kill_at: number of the event that kills; None for a run that is left alone.
    """

    def __init__(self, kill_at: int | None = None):
        self.names: list[str] = []
        self.kill_at = kill_at

    def __call__(self, name: str) -> None:
        self.names.append(name)
        if self.kill_at == len(self.names) - 1:
            raise Killed(name)

    def around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function with an event before and after it."""

        def observed(*args: Any, **kwargs: Any) -> Any:
            self(f"before {name}")
            result = function(*args, **kwargs)
            self(f"after {name}")
            return result

        return observed


class Actor:
    """The worker group of the actor: its weights are a number, and verl's own rule removes old checkpoints."""

    def __init__(self, events: Events):
        self.events, self.weights = events, 1
        self.manager = BaseCheckpointManager.__new__(BaseCheckpointManager)
        self.manager.previous_saved_paths = []

    def save_checkpoint(self, local: str, remote: str | None, step: int, max_ckpt_to_keep: int | None) -> None:
        self.manager.ensure_checkpoint_capacity(max_ckpt_to_keep)
        Path(local).mkdir(parents=True, exist_ok=True)
        self.events("in the write of a checkpoint")
        Path(local, "weights").write_text(str(self.weights))
        self.manager.register_checkpoint(local, max_ckpt_to_keep)

    def load_checkpoint(self, local_path: str, **_: Any) -> None:
        self.weights = int(Path(local_path, "weights").read_text())


class Dumps:
    """The executor of verl's dumps: it works when its result is asked for, which is as late as a thread may be."""

    def submit(self, function: Callable[..., Any], *args: Any) -> SimpleNamespace:
        return SimpleNamespace(done=lambda: False, result=lambda: function(*args))

    def shutdown(self, wait: bool) -> None: ...


class Loop(PPOTrainerSync):
    """verl's trainer without data, workers and rollouts; its loop, its checkpoints and its logging are its own."""

    def prepare(self, events: Events, queue: FakeQueue) -> None:
        """What verl's ``init`` does, but for this trainer."""
        self.events, self.queue, self.actor_rollout_wg = events, queue, Actor(events)
        self.checkpoint_manager, self.tokenizer = MagicMock(), MagicMock(pad_token_id=0, decode=lambda *_, **__: "text")
        self.train_dataloader = SimpleNamespace(
            state_dict=lambda: events("between weights and data") or {}, load_state_dict=lambda state: None
        )
        self.replay_buffer = SimpleNamespace(sample=lambda **_: (queue.batch(["a_0_0"]), {}))
        self.steps_per_epoch, self.total_training_steps = 100, STEPS
        self._dump_executor, self._dump_futures = Dumps(), []
        self._load_checkpoint()

    def step(self, metrics: dict, timing_raw: dict) -> KVBatchMeta:
        self.events("in the step")
        self.actor_rollout_wg.weights = 3 * self.actor_rollout_wg.weights + self.global_steps
        metrics["loss"] = self.actor_rollout_wg.weights
        self.records = [{"step": self.global_steps, "weights": self.actor_rollout_wg.weights, "trajectory": None}]
        return self.queue.batch(["a_0_0"])

    def on_step_end(self) -> None:
        self.events("after the checkpoint")

    def _validate(self) -> dict[str, float]:
        self.replay_buffer.sample()
        self.events("in the validation")
        return {VALIDATION: float(self.actor_rollout_wg.weights)}

    def on_validate_end(self) -> None:
        self.events("after the validation")

    def _compute_metrics(self, batch: KVBatchMeta, metrics: dict, *_: Any, **__: Any) -> None:
        self.events("before the rollouts")
        metrics["length"] = 1.0


class Run(VisualTrainer, Loop):
    """The trainer of a run."""


@cache
def resolved(*overrides: str) -> DictConfig:
    """The configuration with every interpolation replaced: to resolve them takes longer than everything else here."""
    freqs = [f"trainer.save_freq={SAVE_FREQ}", f"trainer.test_freq={TEST_FREQ}", "trainer.val_before_train=false"]
    config = compose_config(*freqs, "trainer.logger=[file]", *overrides)
    OmegaConf.resolve(config)
    return config


@pytest.fixture
def attempt(monkeypatch, queue):
    """Start or resume the run in a folder; returns the events until it ended or was killed."""
    queue.fields.update(scored_rows([torch.ones(2)], [1.0], [None]))
    queue.fields |= {"prompts": jagged([torch.ones(2)]), "responses": jagged([torch.ones(2)]), "uid": ["a"]}

    def start(folder: Path, kill_at: int | None = None, *overrides: str) -> list[str]:
        run, events = RunFolder(folder), Events(kill_at)
        config = resolved(*overrides)
        config.trainer.default_local_dir, config.trainer.rollout_data_dir = str(run.checkpoints), str(run.trajectories)
        run.next_metrics().parent.mkdir(parents=True, exist_ok=True)
        with monkeypatch.context() as patch:
            patch.setenv("VERL_FILE_LOGGER_PATH", str(run.next_metrics()))
            trainer = Run(config)
            trainer.prepare(events, queue)
            patch.setattr(os, "fsync", events.around("a flush", os.fsync))
            patch.setattr(Path, "replace", events.around("a replacement", Path.replace))
            patch.setattr(FileLogger, "log", events.around("the metrics", FileLogger.log))
            patch.setattr(tq, "kv_clear", lambda **_: events("between rollouts and metrics"))
            try:
                trainer.fit(MagicMock())
            except Killed:
                assert kill_at is not None
        return events.names

    return start


def marked(folder: Path) -> int:
    """The step after which a run in this folder would go on."""
    mark = RunFolder(folder).checkpoints / "latest_checkpointed_iteration.txt"
    return int(mark.read_text()) if mark.exists() else 0


def told(folder: Path, until: int) -> dict[int, list[Any]]:
    """What the steps up to one have said: metrics, rollouts of both splits, and verl's own dump."""
    run, steps = RunFolder(folder), {}
    report = RunData.open(folder) if until else None
    for step in range(1, until + 1):
        validated = step % TEST_FREQ == 0 or step == STEPS
        splits = ["train", "val"] if validated else ["train"]
        steps[step] = [
            {name: value for name, value in report.metrics[step].items() if "timing" not in name},
            {split: [json.loads(line) for line in run.rollouts(split)[step].open()] for split in splits},
            (run.trajectories / f"{step}.jsonl").read_text(),
        ]
        for split in splits:
            assert all(map(without_uid, steps[step][1][split])), (step, split)
        assert {"loss", "length", *([VALIDATION] if validated else [])} <= set(steps[step][0])
    return steps


def without_uid(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name != "uid"}


@pytest.fixture
def whole(attempt, tmp_path) -> SimpleNamespace:
    """A run that is not killed, with its events."""
    events = attempt(tmp_path / "whole")
    return SimpleNamespace(events=events, told=told(tmp_path / "whole", STEPS))


def check(folder: Path, whole: SimpleNamespace) -> None:
    """Every step up to the marked one has said what it has to say, and its checkpoint is there."""
    step = marked(folder)
    assert told(folder, step) == {number: whole.told[number] for number in range(1, step + 1)}
    assert step == 0 or (folder / "checkpoints" / f"global_step_{step}" / "actor" / "weights").read_text()
    if RunFolder(folder).trajectories.is_dir():
        report = RunData.open(folder)
        assert all(record.open().read().endswith("}\n") for split in report.files.values() for record in split.values())


ONE_KEPT = "trainer.max_actor_ckpt_to_keep=1"


def test_run_that_is_killed_at_any_event_loses_nothing(attempt, whole, tmp_path):
    kinds = {"in the step", "in the write of a checkpoint", "between weights and data", "after the checkpoint"}
    kinds |= {"in the validation", "after the validation", "before the rollouts", "between rollouts and metrics"}
    kinds |= {f"{side} {what}" for side in ("before", "after") for what in ("a flush", "a replacement", "the metrics")}
    assert set(whole.events) == kinds
    for number, name in enumerate(whole.events):
        folder = tmp_path / str(number)
        assert attempt(folder, number, ONE_KEPT)[-1] == name
        check(folder, whole)
        attempt(folder, None, ONE_KEPT)
        assert marked(folder) == STEPS, name
        assert len(list(folder.glob("checkpoints/*/actor"))) == 2, "the limit holds"
        assert told(folder, STEPS) == whole.told, name


@settings(max_examples=15, suppress_health_check=list(HealthCheck))
@given(kills=st.lists(st.integers(0, 40), max_size=5), limit=st.sampled_from([(), (ONE_KEPT,)]))
def test_run_that_is_killed_several_times_loses_nothing(kills, limit, attempt, whole, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    for kill in kills:
        before = marked(folder)
        attempt(folder, kill, *limit)
        check(folder, whole)
        assert marked(folder) >= before
    attempt(folder, None, *limit)
    assert told(folder, STEPS) == whole.told


def test_full_disk_stops_the_run_with_a_sentence_and_the_same_command_goes_on(attempt, whole, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
        with pytest.raises(RuntimeError, match=r"The checkpoint of step 3 is not written: .* global_step_2 is whole"):
            attempt(tmp_path)
    assert marked(tmp_path) == 2
    attempt(tmp_path)
    assert told(tmp_path, STEPS) == whole.told


def test_only_a_run_that_goes_on_says_after_which_step_it_does(attempt, tmp_path, caplog):
    attempt(tmp_path)
    assert "goes on" not in caplog.text
    attempt(tmp_path)
    assert f"verl-mapo: The run goes on after step {STEPS}. Weights, optimizer" in caplog.text


class Uploads(CheckpointCallback):
    """A checkpoint callback, as a user writes it."""

    seen: list[tuple] = []

    def on_save(self, trainer, global_step, checkpoint_dir, async_save=False, **_):
        self.seen.append((global_step, Path(checkpoint_dir).name, async_save, marked(Path(checkpoint_dir).parents[1])))


def test_checkpoint_callback_is_called_once_for_each_marked_checkpoint(attempt, tmp_path, monkeypatch):
    monkeypatch.setattr("support.scripted.Uploads", Uploads, raising=False)
    Uploads.seen.clear()
    attempt(tmp_path, None, "+trainer.checkpoint_callback_class=support.scripted.Uploads")
    assert Uploads.seen == [(2, "global_step_2", False, 2), (3, "global_step_3", False, 3)]


def test_checkpoint_that_megatron_saves_in_the_background_is_left_to_megatron(attempt, tmp_path):
    attempt(
        tmp_path,
        None,
        "actor_rollout_ref.actor.checkpoint.async_save=true",
        "model_engine=megatron",
    )
    assert (tmp_path / "checkpoints" / "global_step_3").is_dir() and marked(tmp_path) == 0


@pytest.mark.parametrize("override", [ONE_KEPT, "+trainer.remove_previous_ckpt_in_save=true"])
def test_limit_of_one_checkpoint_is_raised_to_two_with_a_warning(override, caplog):
    config = compose_config(override)
    keep_marked_checkpoint(config)
    assert "trainer.max_actor_ckpt_to_keep=1 is raised to 2" in caplog.text
    assert config.trainer.max_actor_ckpt_to_keep == 2 and not config.trainer.get("remove_previous_ckpt_in_save")


@pytest.mark.parametrize("limit", ["null", "2", "5"])
def test_other_limits_are_left_alone(limit, caplog):
    config = compose_config(f"trainer.max_actor_ckpt_to_keep={limit}")
    before = config.trainer.copy()
    keep_marked_checkpoint(config)
    assert config.trainer == before and not caplog.text
