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
"""math-verify in a child process: what it reads may keep it busy for ever, and only a process can be ended.

Its own limits rest on SIGALRM, which works in a main thread only, where a reward worker runs its event loop.
"""

from __future__ import annotations

import logging
import multiprocessing
import threading
from multiprocessing.connection import Connection

from verl_mapo.rewards.answers import math_equal

logger = logging.getLogger(__name__)

STEP_S = 3
"""Limit of each step of math-verify in the child, seconds."""

LIMIT_S = 60.0
"""After this many seconds the child is killed; the first answer includes its start."""


class MathProcess:
    """Compares answers in one child, started at the first question and again after it was killed. Thread-safe."""

    def __init__(self, limit_s: float = LIMIT_S) -> None:
        self.limit_s = limit_s
        self._lock = threading.Lock()
        self._child: multiprocessing.process.BaseProcess | None = None
        self._pipe: Connection | None = None

    def equal(self, answer: str, truths: list[str]) -> bool:
        """Whether the answer equals one of the truths; False when the child had to be killed over it. Blocks."""
        with self._lock:
            if self._child is None or not self._child.is_alive():
                self._start()
            try:
                self._pipe.send((answer, truths))
                if self._pipe.poll(self.limit_s):
                    return self._pipe.recv()
            except (EOFError, OSError):
                logger.warning("math-verify's process ended over an answer, which counts as wrong: %.80r", answer)
            else:
                logger.warning("math-verify was stopped over an answer, which counts as wrong: %.80r", answer)
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


def _serve(pipe: Connection) -> None:
    """The child: one question after another until the other end is closed."""
    while True:
        try:
            answer, truths = pipe.recv()
        except EOFError:
            return
        pipe.send(any(math_equal(answer, truth, STEP_S) for truth in truths))
