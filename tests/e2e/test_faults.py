# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Each fault of a real run ends with a sentence, and the run goes on from its checkpoint as if it had not happened.

``pytest -s`` prints the seconds from each fault to its sentence, see docs/faults.md.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import datasets
import psutil
import pytest
from safetensors.torch import load_file
from support.checked_run import check_nothing_lost
from support.real_run import TIMEOUT_S, metrics_of, toy_overrides

from verl_mapo.launcher import WORKER_DIED
from verl_mapo.run_folder import RunFolder
from verl_mapo.training.checkpoint_room import size_of

pytestmark = [pytest.mark.e2e, pytest.mark.matrix]

OVERRIDES = ["trainer.total_training_steps=3", "trainer.save_freq=1"]
FAILED = (1, WORKER_DIED)
"""Exit codes of a run that fails: its own, or the launcher's where it takes more than a minute to end."""

SAME = ("mapo/outcome/mean", "mapo/alignment/mean", "rollout_visual/tool_rate", "actor/grad_norm")


@dataclass
class Attempt:
    """One start of a run.

    Attributes:
        run: the folder.
        process: ``verl-mapo train``.
        times: the file that ``faults.py`` writes.
        begin: length of the log before this start.
    """

    run: Path
    process: subprocess.Popen
    times: Path
    begin: int

    @property
    def log(self) -> str:
        """What this start has written into the log."""
        file = RunFolder(self.run).log
        return file.read_bytes()[self.begin :].decode(errors="replace") if file.is_file() else ""

    @property
    def lives(self) -> bool:
        """Whether the command is still running."""
        return self.process.poll() is None

    def began(self, what: str, count: int = 1) -> float:
        """Wait for the ``count``-th time that something begins; returns when it was."""
        while True:
            lines = self.times.read_text().splitlines() if self.times.is_file() else []
            found = [float(line.split()[1]) for line in lines if line.startswith(what)]
            if len(found) >= count:
                return found[count - 1]
            assert self.lives, self.log[-4000:]
            time.sleep(0.1)

    def session(self) -> dict[psutil.Process, str]:
        """The processes of the run and their names, the driver's first."""
        driver = psutil.Process(self.process.pid).children()[0]
        found = {driver: "driver"}
        for process in psutil.process_iter():
            try:
                if os.getsid(process.pid) == driver.pid != process.pid:
                    found[process] = process.name()
            except (psutil.NoSuchProcess, ProcessLookupError):
                continue
        return found

    def kill(self, name: str) -> float:
        """Send SIGKILL to the process whose name matches, once it is there; returns when.

        Ray starts an actor's process while the trainer goes on, so a step may begin before it is there.
        """
        while not (victims := [process for process, found in self.session().items() if re.match(name, found)]):
            assert self.lives, self.log[-4000:]
            time.sleep(0.1)
        victims[0].send_signal(signal.SIGKILL)
        return time.time()

    def sentence(self, pattern: str) -> tuple[float, str]:
        """Wait for a line of the log; returns when it came, and the line from ``verl-mapo:`` on."""
        while True:
            lives = self.lives
            if found := re.search(f"verl-mapo: [^\n]*{pattern}[^\n]*", self.log):
                return time.time(), found[0]
            assert lives, self.log[-6000:]
            time.sleep(0.1)

    def ended(self) -> int:
        """Wait for the end of the command; returns its exit code."""
        return self.process.wait()


@pytest.fixture
def start(tmp_path) -> Iterator[Callable[..., Attempt]]:
    """Start a run in a folder."""
    running: list[Attempt] = []

    def begin(run: Path, overrides: list[str], fault: str = "") -> Attempt:
        run.mkdir(parents=True, exist_ok=True)
        log, times = RunFolder(run).log, tmp_path / f"times{len(running)}"
        path = os.pathsep.join(filter(None, [str(Path(__file__).parents[1] / "support"), os.environ.get("PYTHONPATH")]))
        given = {"VERL_USE_EXTERNAL_MODULES": "faults", "PYTHONPATH": path, "FAULT_TIMES": str(times), "FAULT": fault}
        command = [sys.executable, "-m", "verl_mapo.cli", "train", "--run", str(run), "--timeout-h"]
        process = subprocess.Popen(
            [*command, str(TIMEOUT_S / 3600), *overrides],
            env={**os.environ, **given},
            stdout=(run / "console.txt").open("ab"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        running.append(Attempt(run, process, times, log.stat().st_size if log.is_file() else 0))
        return running[-1]

    yield begin
    for attempt in running:
        attempt.process.terminate()
        attempt.process.wait()


def show(fault: str, attempt: Attempt, at: float, pattern: str, *codes: int) -> None:
    """Wait for a sentence, and for the end of the run if it has one, and print the seconds from the fault to each."""
    told, sentence = attempt.sentence(pattern)
    ended = ""
    if codes:
        assert attempt.ended() in codes, attempt.log[-4000:]
        ended = f"{time.time() - at:.0f}"
    write(fault, f"{told - at:.0f}", ended, sentence)


def write(*cells: str) -> None:
    """Print a row: the fault, the seconds to the sentence and to the end of the run, the sentence."""
    sys.__stdout__.write(f"| {' | '.join(cells)} |\n")
    sys.__stdout__.flush()


KILLED = [
    ("reward worker", "ray::RewardLoopWorker", "(RewardLoopWorker|the trainer has failed)", *FAILED),
    ("agent worker", r"ray::\w*AgentLoopWorker", r"AgentLoopWorker\S* \(pid \d+.* died", WORKER_DIED),
    ("engine", "VLLM::", "(VLLM::|the trainer has failed)", *FAILED),
    ("trainer", "ray::TaskRunner", "the trainer has failed: ActorDiedError", *FAILED),
    ("driver", "driver", "driver .* was killed by SIGKILL", 128 + 9),
]
"""What is killed, the name of its process, the sentence, and the exit codes that may follow."""


def test_run_that_meets_one_fault_after_another_goes_on_as_if_it_had_not(start, toy, tmp_path):
    overrides = [*toy_overrides(toy), *OVERRIDES]
    whole, run = tmp_path / "whole", tmp_path / "run"
    for number, (victim, name, pattern, *codes) in enumerate(KILLED):
        attempt = start(run, overrides)
        attempt.began("step", 1 if number else 2)
        show(f"kill -9 of {victim}", attempt, attempt.kill(name), pattern, *codes)
        check_nothing_lost(run, marked=1, validated=())
        assert (run / "console.txt").read_text().rstrip().endswith("the same command goes on after step 1.")
    kill_launcher(start(run, overrides))
    judge_that_hangs(start, run, overrides)
    images_that_are_missing(start, run, overrides, toy, tmp_path)
    loss_that_is_nan(start, run, overrides)
    last = start(run, overrides)
    show("going on", last, last.began("step"), "its metrics are those of a run that was not stopped")
    assert last.ended() == 0
    check_nothing_lost(run, marked=3, validated=())
    assert start(whole, overrides).ended() == 0
    expected, found = metrics_of(whole), metrics_of(run)
    for step, name in product((1, 2, 3), SAME):
        assert found[step][name] == pytest.approx(expected[step][name], rel=1e-3), (step, name)


def kill_launcher(attempt: Attempt) -> None:
    """Nobody is left to write a sentence, but no process goes on unwatched."""
    attempt.began("step")
    session = [*attempt.session()]
    attempt.process.kill()
    at = time.time()
    while any(map(runs, session)):
        time.sleep(0.1)
    write("kill -9 of verl-mapo train", "", f"{time.time() - at:.0f}", "")


def runs(process: psutil.Process) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def judge_that_hangs(start, run: Path, overrides: list[str]) -> None:
    """A server that takes connections and never replies."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/v1"
        judge = f"{{url: '{url}', model: j, timeout_s: 5, retries: 1, concurrency: 4}}"
        attempt = start(run, [*overrides, f"reward.description_alignment.judge={judge}"])
        pattern = "the trainer has failed: .* rollouts of step 2 have no outcome.* The judge at .* (not asked|no reply)"
        show("judge that hangs", attempt, attempt.began("step"), pattern, *FAILED)


def images_that_are_missing(start, run: Path, overrides: list[str], toy: SimpleNamespace, tmp_path: Path) -> None:
    """Three of four rows have an image that was damaged."""
    rows = datasets.load_dataset("parquet", data_files=str(toy.train), split="train").to_list()
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\nno more")
    for number, row in enumerate(rows):
        if number % 4:
            row["images"] = [str(broken)] * len(row["images"])
    file = tmp_path / "broken.parquet"
    datasets.Dataset.from_list(rows).to_parquet(str(file))
    attempt = start(run, [*overrides, f"data.train_files={file}"])
    pattern = "the trainer has failed: .* rollouts of step 2 ended before their first turn.*broken.png"
    show("unreadable image", attempt, attempt.began("step"), pattern, *FAILED)


def loss_that_is_nan(start, run: Path, overrides: list[str]) -> None:
    attempt = start(run, overrides, "nan")
    pattern = r"the trainer has failed: The update of step 2 had .*actor/grad_norm=nan.*step_2\.json"
    show("NaN loss", attempt, attempt.began("fault"), pattern, *FAILED)
    about = json.loads((RunFolder(run).not_finite / "step_2.json").read_text())
    tensors = load_file(RunFolder(run).not_finite / "step_2.safetensors")
    assert about["metrics"]["actor/grad_norm"] == "nan" and len(about["rows"]) == 32
    assert {"advantages", "old_log_probs", "rollout_log_probs", "responses"} <= set(tensors)
    assert all(len(values) == about["rows"][-1]["tokens"][1] for values in tensors.values())
    check_nothing_lost(run, marked=1, validated=())


def test_full_disk_a_killed_scorer_and_texts_in_loops(start, toy, tmp_path):
    """The first checkpoint fails in the worker, the second is not begun, and the first one is whole afterwards."""
    disk = tmp_path / "run" / "checkpoints"
    disk.mkdir(parents=True)
    overrides = [*toy_overrides(toy), *OVERRIDES, "trainer.max_actor_ckpt_to_keep=2"]
    with mounted(disk, "4m"):
        attempt = start(disk.parent, overrides, "loops")
        at = attempt.began("step")
        show("repeating and empty texts", attempt, at, "the last turn is empty in .* the same again and again in")
        pattern = "the trainer has failed: The checkpoint of step 1 could not be written: .* MB are free in"
        show("full disk, first checkpoint", attempt, attempt.began("save"), pattern, *FAILED)
        assert not list(disk.glob("global_step_*"))
        remount(disk, "1g")
        scorer = ["reward.description_alignment.scorer.placement=actor"]
        attempt = start(disk.parent, [*overrides, *scorer])
        attempt.began("step")
        at = attempt.kill("ray::ScorerActor")
        show("kill -9 of scorer", attempt, at, "an actor of the scorer had died")
        attempt.began("step", 2)
        remount(disk, f"{size_of(disk / 'global_step_1') * 3 // 2}")
        pattern = "the trainer has failed: The checkpoint of step 2 is not written: .*global_step_1 is whole"
        show("full disk, later checkpoint", attempt, attempt.began("save", 2), pattern, *FAILED)
        assert metrics_of(disk.parent)[1]["mapo/alignment/unscored_share"] == 0
        remount(disk, "1g")
        last = start(disk.parent, [*overrides, *scorer])
        assert last.ended() == 0 and "The run goes on after step 1" in last.log


@contextmanager
def mounted(folder: Path, size: str) -> Iterator[None]:
    """A disk of its own for a folder; the test is skipped where mounting is not permitted."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting is not permitted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def remount(folder: Path, size: str) -> None:
    """Change the size of a disk."""
    subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True)
