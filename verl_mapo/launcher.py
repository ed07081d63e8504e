# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Runs verl's trainer as a child process, and stops it when a worker dies, or at a time limit if one is given.

verl waits for its workers without a limit: when a ray actor or vLLM's engine dies, the driver often waits forever. The
launcher watches the process tree instead. When a worker dies, it names the process, ends the rest of the tree, and
returns a nonzero exit code. It depends only on names of processes and on time, not on what the run does.
"""

import ctypes
import math
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

TIMED_OUT = 124
"""Exit code of a run that was stopped at its time limit, as in timeout(1)."""

WORKER_DIED = 70
"""Exit code of a run that was stopped because a worker died, as in sysexits(3)."""

REFUSED = 78
"""Exit code of a run whose settings, data or model were refused before Ray was started, as in sysexits(3)."""

GRACE_S = 60.0
"""Seconds that a run has to end by itself after a needed process or actor has died."""

NEEDED = re.compile(
    r"gcs_server$|raylet$|VLLM::"
    r"|ray::\w*(TaskRunner|WorkerDict|AgentLoopWorker|RewardLoopWorker|HttpServer|TransferQueueController|StorageUnit)"
)
"""Names of processes that every run needs: ray's daemons, verl's actors, TransferQueue, vLLM's engine and workers."""

CLOSED_ON_ERROR = re.compile(r"ray::\w*(TransferQueueController|StorageUnit)")
"""Names of needed processes that verl itself ends after an error, seconds before its driver ends."""

KEPT_NAME = 15
"""Characters of a process's name that Linux keeps (TASK_COMM_LEN, less the byte that ends it)."""

POLL_S = 0.5
"""Interval, in seconds, at which the process tree is checked."""

SHUTDOWN_S = 2.0
"""A process that disappears at most this many seconds before the driver ends was ended by the driver's shutdown."""

ENDING_S = 15.0
"""Longest time, in seconds, to wait for processes to end: after the driver has ended, and after each signal."""


_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None

_PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that a process gets when its parent ends."""


def launch(
    arguments: Sequence[str],
    *,
    timeout_s: float | None = None,
    env: Mapping[str, str],
    log: Path | None = None,
    echo: Callable[[str], object] | None = None,
    inherited: Sequence[int] = (),
) -> int:
    """Run verl's main_ppo, as :mod:`verl_mapo.driver` starts it, and return its exit code.

    Args:
        arguments: hydra arguments.
        timeout_s: time limit of the run in seconds; None for no limit.
        env: the child's whole environment.
        log: file to which the output is appended; None for no file.
        echo: called with each line of the output; None writes it to stdout.
        inherited: see :func:`supervise`.

    Returns:
        The exit code, see :func:`supervise`.
    """
    command = [sys.executable, "-m", "verl_mapo.driver", *arguments]
    return supervise(command, timeout_s=timeout_s, env=env, log=log, echo=echo, inherited=inherited)


def supervise(
    command: Sequence[str],
    *,
    timeout_s: float | None = None,
    env: Mapping[str, str],
    log: Path | None = None,
    echo: Callable[[str], object] | None = None,
    grace_s: float = GRACE_S,
    inherited: Sequence[int] = (),
) -> int:
    """Run a command in its own session, and stop it early if it cannot succeed any more.

    When this function returns, no process of the command's tree is left. Call it from the main thread, since Python
    delivers signals only there.

    Args:
        command: the command and its arguments.
        timeout_s: time limit in seconds; None for no limit.
        env: the command's whole environment.
        log: file to which the output is appended; None for no file.
        echo: called with each line of the output; None writes it to stdout.
        grace_s: seconds that the command has to end by itself after a needed process has died.
        inherited: descriptors of open files that the command inherits, such as that of :func:`verl_mapo.run_lock.held`.

    Returns:
        The command's exit code, where death by a signal gives 128 + its number; or :data:`TIMED_OUT` at the time limit;
        or :data:`WORKER_DIED` if a process that matches :data:`NEEDED` died and the command did not end within
        ``grace_s`` seconds; or 128 + the signal's number if this process received SIGINT, SIGTERM or SIGHUP.

    Raises:
        ConfigError: ``timeout_s`` is not positive.
    """
    limit_s = math.inf if timeout_s is None else timeout_s
    if not limit_s > 0:
        raise ConfigError(f"timeout_s={timeout_s:g} must be positive: give the time limit in seconds, such as 3600.")
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
            pass_fds=inherited,
            preexec_fn=_end_with_launcher if _LIBC else None,
        )
        reader = threading.Thread(target=lambda: [write(line) for line in driver.stdout], daemon=True)
        reader.start()
        tree = ProcessTree(driver)
        try:
            code, reason = _watch(tree, received, limit_s, grace_s)
        finally:
            tree.end()
        reader.join(timeout=ENDING_S)
        if reason:
            write(f"verl-mapo: {reason}\n")
        return code


class ProcessTree:
    """The processes of a driver's session.

    The session is watched instead of the driver's descendants, because ray's daemons lose their parent when the driver
    dies but keep their session.

    Args:
        driver: the process that leads the session.

    Attributes:
        seen: every other process seen in the session, with its name if the run needs it and ``""`` otherwise.
    """

    def __init__(self, driver: psutil.Popen):
        self.driver = driver
        self.seen: dict[psutil.Process, str] = {}

    def update(self) -> None:
        """Record the processes that exist now. Names are read again, because most processes rename themselves.

        A forked child has its parent's name until it starts another program; it is not recorded as needed.
        """
        for process in psutil.process_iter():
            with suppress(psutil.NoSuchProcess, ProcessLookupError):
                if os.getsid(process.pid) == self.driver.pid != process.pid:
                    name = process.name()
                    self.seen[process] = name if NEEDED.match(name) and not _is_fork(process, name) else ""

    def lost(self) -> list[str]:
        """Name and pid of every needed process that has disappeared, in the order in which they were first seen."""
        return [f"{name} (pid {process.pid})" for process, name in self.seen.items() if name and not _runs(process)]

    def end(self) -> None:
        """End all processes: first wait if the driver has ended, then send SIGTERM, then SIGKILL."""
        self.update()
        left = list(self.seen)
        if self.driver.poll() is not None:
            left = _wait(left)
        for ask in (psutil.Process.terminate, psutil.Process.kill):
            for process in [self.driver, *left]:
                with suppress(psutil.NoSuchProcess):
                    ask(process)
            left = _wait([self.driver, *left])


def _end_with_launcher() -> None:
    """Called in the driver's process before its command: a driver whose launcher was killed gets SIGTERM.

    It would go on unwatched otherwise, and write into the folder of a run that is started again.
    """
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _watch(tree: ProcessTree, received: list[int], timeout_s: float, grace_s: float) -> tuple[int, str]:
    """Wait until the run ends or must be stopped; returns the exit code, and the reason unless the output shows it."""
    start = time.monotonic()
    first_lost, lost_at = "", 0.0
    while True:
        code, now = tree.driver.poll(), time.monotonic()
        if code is not None:
            if code < 0:
                name = signal.Signals(-code).name
                memory = ", as the kernel does when memory is short" if -code == signal.SIGKILL else ""
                return 128 - code, f"verl's driver (pid {tree.driver.pid}) was killed by {name}{memory}."
            died = code != 0 and first_lost and now - lost_at > SHUTDOWN_S and not CLOSED_ON_ERROR.match(first_lost)
            return code, f"verl failed after {first_lost} died." if died else ""
        if received:
            return 128 + received[0], f"stopped by {signal.Signals(received[0]).name}."
        if now - start > timeout_s:
            return TIMED_OUT, f"stopped at the time limit, timeout_s={timeout_s:g}."
        tree.update()
        if not first_lost and (lost := tree.lost()):
            first_lost, lost_at = lost[0], now
        if first_lost and now - lost_at > grace_s:
            return WORKER_DIED, f"stopped: {first_lost} died, and verl was still waiting {grace_s:g} seconds later."
        time.sleep(POLL_S)


def _is_fork(process: psutil.Process, name: str) -> bool:
    """Whether a process has the name of its parent, as a forked child has."""
    parent = process.parent()
    return parent is not None and _actor(parent.name()) == _actor(name)


def _actor(name: str) -> str:
    """A process's name without the method that ray appends while the actor runs it, as far as the kernel keeps it.

    A process that is ending has no command line, from which psutil reads the rest of a long name.
    """
    return name.partition(".")[0][:KEPT_NAME]


def _runs(process: psutil.Process) -> bool:
    """Whether a process exists and is no zombie."""
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _wait(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Wait at most :data:`ENDING_S` seconds for processes to end; returns those that still run."""
    deadline = time.monotonic() + ENDING_S
    while (left := [process for process in processes if _runs(process)]) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def _to_stdout(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


@contextmanager
def _tee(echo: Callable[[str], object], log: Path | None) -> Iterator[Callable[[str], None]]:
    """Yield a function that passes text to ``echo`` and appends it to the file ``log`` without delay."""
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
    """Yield a list that collects the numbers of received signals that ask the run to stop.

    SIGHUP is left alone if it is ignored, so that a run under nohup outlives its terminal.
    """
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
