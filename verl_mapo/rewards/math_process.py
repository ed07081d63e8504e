# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The answer check ``math``: math-verify in a child process, which can be ended when a comparison does not return.

math-verify's own time limits use SIGALRM, which only works in the main thread; the main thread of a reward worker runs
the event loop.
"""

from __future__ import annotations

import logging
import multiprocessing
import threading
from multiprocessing.connection import Connection
from typing import Any

from verl_mapo.rewards.answers import math_equal

logger = logging.getLogger(__name__)

STEP_S = 3
"""Time limit of each step of math-verify in the child, in seconds."""

LIMIT_S = 60.0
"""After this many seconds the child is killed. The first comparison includes the child's start."""


class MathProcess:
    """Compares answers in one child process, started at the first comparison and after it was killed. Thread-safe.

    Args:
        limit_s: time limit of one comparison, in seconds.
    """

    def __init__(self, limit_s: float = LIMIT_S) -> None:
        self.limit_s = limit_s
        self._lock = threading.Lock()
        self._child: multiprocessing.process.BaseProcess | None = None
        self._pipe: Connection | None = None

    def equal(self, answer: str, truth: str) -> bool:
        """Whether both are mathematically equal; False if the comparison ended the child or took too long. Blocks."""
        with self._lock:
            if self._child is None or not self._child.is_alive():
                self._start()
            try:
                self._pipe.send((answer, truth))
                if self._pipe.poll(self.limit_s):
                    return self._pipe.recv()
            except (EOFError, OSError):
                logger.warning("math-verify's process ended on an answer, which counts as wrong: %.80r", answer)
            else:
                logger.warning("math-verify took too long on an answer, which counts as wrong: %.80r", answer)
            self.close()
            return False

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
    """Whether both are mathematically equal, compared in the child of this process. Blocks."""
    return _PROCESS.equal(answer, truth)


def _serve(pipe: Connection) -> None:
    """The child's main function: it compares until the other end of the pipe is closed."""
    while True:
        try:
            answer, truth = pipe.recv()
        except EOFError:
            return
        pipe.send(math_equal(answer, truth, STEP_S))
