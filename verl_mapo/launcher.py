# Copyright 2026 The verl_mapo authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Run verl's trainer as a child process, bounded in time and watched.

verl waits for its workers without a limit: when a ray actor or vLLM's engine dies, the driver often goes on waiting.
The launcher looks at the process tree instead. It says which process died, ends what is left of the tree, and
returns a code other than zero. It knows nothing about training: only names of processes and time.
"""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path

import psutil

from verl_mapo.settings import ConfigError

#: Exit codes of a run that the launcher ended, as timeout(1) and sysexits(3) have them.
TIMED_OUT = 124
WORKER_DIED = 70

#: Processes no run of verl can lose: ray's daemons, verl's actors, TransferQueue, vLLM's engine and its workers.
NEEDED = re.compile(
    r"gcs_server$|raylet$|VLLM::"
    r"|ray::\w*(TaskRunner|WorkerDict|AgentLoopWorker|RewardLoopWorker|HttpServer|TransferQueueController|StorageUnit)"
)

#: Those of them that verl closes by itself when it stops on an error, seconds before its driver ends.
CLOSED_ON_ERROR = re.compile(r"ray::\w*(TransferQueueController|StorageUnit)")

POLL_S = 0.5
SHUTDOWN_S = 2.0
ENDING_S = 15.0


def launch(
    arguments: Sequence[str],
    *,
    timeout_s: float,
    env: Mapping[str, str],
    log: Path | None = None,
    echo: Callable[[str], object] | None = None,
) -> int:
    """Run ``python -m verl.trainer.main_ppo`` with hydra ``arguments`` and return its exit code.

    ``env`` is the child's whole environment. The output goes to ``echo`` (stdout by default), line by line, and is
    appended to ``log``, if given.
    See :func:`supervise` for the codes and for what ends the run early.
    """
    command = [sys.executable, "-m", "verl.trainer.main_ppo", *arguments]
    return supervise(command, timeout_s=timeout_s, env=env, log=log, echo=echo)


def supervise(
    command: Sequence[str],
    *,
    timeout_s: float,
    env: Mapping[str, str],
    log: Path | None = None,
    echo: Callable[[str], object] | None = None,
    grace_s: float = 60.0,
) -> int:
    """Run ``command`` in a session of its own and return its exit code, or why it was ended.

    :data:`TIMED_OUT` after ``timeout_s`` seconds; :data:`WORKER_DIED` when a process of its tree that matches
    :data:`NEEDED` has disappeared and the command has not ended ``grace_s`` seconds later; 128 + the signal's number
    when this process got SIGINT, SIGTERM or SIGHUP. In every case no process of the tree is left. To be called from
    the main thread, which is where Python delivers signals.

    Raises:
        ConfigError: ``timeout_s`` is not positive.
    """
    if timeout_s <= 0:
        raise ConfigError(f"timeout_s={timeout_s:g} leaves no time to run: give it a number of seconds, e.g. 3600")
    with ExitStack() as stack:
        write = stack.enter_context(_tee(echo or _to_stdout, log))
        received = stack.enter_context(_signals_received())
        driver = psutil.Popen(
            command,
            env=dict(env),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        reader = threading.Thread(target=lambda: [write(line) for line in driver.stdout], daemon=True)
        reader.start()
        tree = ProcessTree(driver)
        try:
            code, reason = _watch(tree, received, timeout_s, grace_s)
        finally:
            tree.end()
        reader.join(timeout=ENDING_S)
        if reason:
            write(f"verl-mapo: {reason}\n")
        return code


class ProcessTree:
    """A driver that leads a session, and every other process seen in that session.

    The session rather than the descendants: ray's daemons lose their parent when the driver dies, never the session.

    Attributes:
        seen: those processes, each with its name if the run needs it, else with none.
    """

    def __init__(self, driver: psutil.Popen):
        self.driver = driver
        self.seen: dict[psutil.Process, str] = {}

    def look(self) -> None:
        """Remember the present processes, and the needed ones' names; most rename themselves while they start.

        A fork bears its parent's name until it becomes another program, and nobody needs it by that name.
        """
        for process in psutil.process_iter():
            with suppress(psutil.NoSuchProcess, ProcessLookupError):
                if os.getsid(process.pid) == self.driver.pid != process.pid:
                    name = process.name()
                    self.seen[process] = name if NEEDED.match(name) and not _is_fork(process, name) else ""

    def lost(self) -> list[str]:
        """Name and pid of every needed process that has disappeared, in the order in which they had started."""
        return [f"{name} (pid {process.pid})" for process, name in self.seen.items() if name and not _runs(process)]

    def end(self) -> None:
        """End what is left: a moment to end by itself if the driver has, then SIGTERM, then SIGKILL."""
        self.look()
        left = list(self.seen)
        if self.driver.poll() is not None:
            left = _wait(left)
        for ask in (psutil.Process.terminate, psutil.Process.kill):
            for process in [self.driver, *left]:
                with suppress(psutil.NoSuchProcess):
                    ask(process)
            left = _wait([self.driver, *left])


def _watch(tree: ProcessTree, received: list[int], timeout_s: float, grace_s: float) -> tuple[int, str]:
    """Wait for the first thing that ends a run: its exit code, and one sentence unless the output explains it."""
    start = time.monotonic()
    first_lost, lost_at = "", 0.0
    while True:
        code, now = tree.driver.poll(), time.monotonic()
        if code is not None:
            died = code != 0 and first_lost and now - lost_at > SHUTDOWN_S and not CLOSED_ON_ERROR.match(first_lost)
            return (code if code >= 0 else 128 - code), f"verl failed after {first_lost} had died." if died else ""
        if received:
            return 128 + received[0], f"stopped: {signal.Signals(received[0]).name} received."
        if now - start > timeout_s:
            return TIMED_OUT, f"stopped: the run did not end within timeout_s={timeout_s:g}; a longer run needs more."
        tree.look()
        if not first_lost and (lost := tree.lost()):
            first_lost, lost_at = lost[0], now
        if first_lost and now - lost_at > grace_s:
            return WORKER_DIED, f"stopped: {first_lost} died and verl still waited for it {grace_s:g} seconds later."
        time.sleep(POLL_S)


def _is_fork(process: psutil.Process, name: str) -> bool:
    parent = process.parent()
    return parent is not None and _actor(parent.name()) == _actor(name)


def _actor(name: str) -> str:
    """A process's name without the method that ray appends while an actor runs it."""
    return name.partition(".")[0]


def _runs(process: psutil.Process) -> bool:
    """Whether it is neither gone nor a zombie."""
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _wait(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those still running after at most :data:`ENDING_S` seconds."""
    deadline = time.monotonic() + ENDING_S
    while (left := [process for process in processes if _runs(process)]) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def _to_stdout(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


@contextmanager
def _tee(echo: Callable[[str], object], log: Path | None) -> Iterator[Callable[[str], None]]:
    """A function that gives text to ``echo`` and appends it to the file ``log``, at once."""
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") if log is not None else nullcontext() as file:

        def write(text: str) -> None:
            echo(text)
            if file is not None:
                file.write(text)
                file.flush()

        yield write


@contextmanager
def _signals_received() -> Iterator[list[int]]:
    """The numbers of the signals that ask to stop, as they arrive; nohup's wish to outlive the terminal is kept."""
    received: list[int] = []
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    usual = {number: signal.signal(number, lambda number, frame: received.append(number)) for number in numbers}
    try:
        yield received
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)
