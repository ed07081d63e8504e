# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The trainer's threads: chosen by the command, and used by the trainer alone."""

from __future__ import annotations

import os

import pytest
import torch

from verl_mapo import driver_threads
from verl_mapo.driver_threads import THREADS, environment, use_threads


@pytest.mark.parametrize(("cores", "threads"), [(1, "1"), (2, "1"), (8, "4"), (16, "8"), (192, "8")])
def test_trainer_gets_half_of_the_cores_and_at_most_eight(cores, threads, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv(THREADS, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(cores), raising=False)
    assert environment() == {THREADS: threads}
    monkeypatch.setenv(THREADS, "3")
    assert environment() == {THREADS: "3"}


def test_number_that_the_user_has_set_for_every_process_is_kept(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert environment() == {}


def test_trainer_uses_the_number_it_was_told(monkeypatch):
    used = []
    monkeypatch.setattr(torch, "set_num_threads", used.append)
    monkeypatch.delenv(THREADS, raising=False)
    use_threads()
    monkeypatch.setenv(THREADS, "5")
    use_threads()
    assert used == [5] and driver_threads.MOST == 8
