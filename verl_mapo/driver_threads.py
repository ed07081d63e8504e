# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The number of threads with which the trainer computes advantages and metrics.

Ray gives an actor one thread (``OMP_NUM_THREADS=1``) unless it asks for CPUs or the variable is set, so verl's trainer
has one on a node of any size, while all others wait for it. To set that variable for the trainer would set it for every
actor of the run, since Ray's actors inherit the environment of the one that starts them.
"""

from __future__ import annotations

import os

THREADS = "VERL_MAPO_DRIVER_THREADS"
"""Environment variable by which the command tells the trainer its number of threads."""

MOST = 8
"""The largest number that is used by itself [ours]: the sums are bound by memory, which a few threads use up."""


def environment() -> dict[str, str]:
    """The variable for the trainer's actor: half of this process's cores, at most :data:`MOST`.

    Empty where ``OMP_NUM_THREADS`` is set, since Ray's actors then use that number.
    """
    if "OMP_NUM_THREADS" in os.environ:
        return {}
    return {THREADS: os.environ.get(THREADS, str(min(MOST, max(1, len(os.sched_getaffinity(0)) // 2))))}


def use_threads() -> None:
    """Use the number of threads that the command has told this process, if it has."""
    if THREADS in os.environ:
        import torch

        torch.set_num_threads(int(os.environ[THREADS]))
