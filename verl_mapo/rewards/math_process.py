# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The answer check ``math``: math-verify in a child process, which ends when a comparison does not return.

The limit is CPU time of the child and not wall time, so that a busy machine changes no verdict: the same answer runs
into it everywhere. math-verify's own limits are wall time, and use SIGALRM, which only works in the main thread; the
main thread of a reward worker runs the event loop.
"""

from __future__ import annotations

import logging
import multiprocessing
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

from verl_mapo.rewards.answers import Undecided, math_equal

logger = logging.getLogger(__name__)

CPU_S = 5.0
"""CPU time of one comparison, in seconds. An ordinary one takes less than 0.1. After twice this time the kernel
ends the child, because a computation in C does not see the first limit."""

WALL_S = 600.0
"""Wall time after which a child that neither computes nor answers is killed, in seconds."""


_ENDED = "ended its process"


class _OutOfTime(BaseException):
    """Not an Exception, because math-verify and sympy catch those."""


@contextmanager
def cpu_limit(seconds: float) -> Iterator[None]:
    """Stop Python code after so much CPU time of this process, in its main thread.

    Raises:
        Undecided: the time is over.
    """

    def stop(*_: Any) -> None:
        raise _OutOfTime

    before = signal.signal(signal.SIGPROF, stop)
    try:
        signal.setitimer(signal.ITIMER_PROF, seconds)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
    except _OutOfTime:
        raise Undecided(f"the comparison took more than {seconds:g} s of CPU time") from None
    finally:
        signal.signal(signal.SIGPROF, before)


class MathProcess:
    """Compares answers in one child process, started at the first comparison and after it ended. Thread-safe.

    Args:
        cpu_s: CPU time of one comparison, in seconds.
        wall_s: wall time after which the child is killed, in seconds.
    """

    def __init__(self, cpu_s: float = CPU_S, wall_s: float = WALL_S) -> None:
        self.cpu_s = cpu_s
        self.wall_s = wall_s
        self._lock = threading.Lock()
        self._child: multiprocessing.process.BaseProcess | None = None
        self._pipe: Connection | None = None

    def equal(self, answer: str, truth: str) -> bool:
        """Whether both are mathematically equal. Blocks.

        Raises:
            Undecided: the comparison took too much CPU time, or it ended or blocked the child.
        """
        with self._lock:
            found = self._compare(answer, truth)
            if found == _ENDED:  # perhaps not because of the answer, but for memory that others took
                found = self._compare(answer, truth)
        if isinstance(found, bool):
            return found
        logger.warning("math-verify %s on an answer, which is undecided and counts as wrong: %.80r", found, answer)
        raise Undecided(f"math-verify {found}")

    def _compare(self, answer: str, truth: str) -> bool | str:
        """The result of one comparison, or why there is none."""
        if self._child is None or not self._child.is_alive():
            self._start()
        child, slow = self._child, f"took more than {self.cpu_s:g} s of CPU time"
        try:
            self._pipe.send((answer, truth, self.cpu_s))
            if self._pipe.poll(self.wall_s):
                equal = self._pipe.recv()
                return slow if equal is None else equal
        except (EOFError, OSError):
            self.close()
            return slow if child.exitcode == -signal.SIGVTALRM else _ENDED
        self.close()
        return f"did not answer within {self.wall_s:g} s"

    def close(self) -> None:
        """End the child."""
        if self._child is not None:
            self._child.kill()
            self._child.join()
            self._pipe.close()
            self._child = None

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._child = context.Process(target=_serve, args=(theirs,), daemon=True, name="math-verify")
        self._child.start()
        theirs.close()


_PROCESS = MathProcess()


def check_math(answer: str, truth: str, **_: Any) -> bool:
    """Whether both are mathematically equal, compared in the child of this process. Blocks.

    Raises:
        Undecided: math-verify did not come to a result.
    """
    return _PROCESS.equal(answer, truth)


def _serve(pipe: Connection) -> None:
    """The child's main function: it compares until the other end of the pipe is closed; None is no result in time."""
    import math_verify  # noqa: F401  outside the time limit

    logging.getLogger("math_verify").setLevel(logging.ERROR)
    signal.signal(signal.SIGVTALRM, signal.SIG_DFL)
    while True:
        try:
            answer, truth, cpu_s = pipe.recv()
        except EOFError:
            return
        signal.setitimer(signal.ITIMER_VIRTUAL, 2 * cpu_s)
        try:
            with cpu_limit(cpu_s):
                equal = math_equal(answer, truth)
        except Undecided:
            equal = None
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        pipe.send(equal)
