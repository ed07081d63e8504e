# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""math-verify in a child process, also with a tower of powers that it cannot compute in time."""

import signal
import threading

import pytest

from verl_mapo.rewards.math_process import MathProcess, check_math

TOWER = "9^{9^{9^{9}}}"


@pytest.fixture
def process():
    process = MathProcess(limit_s=600)
    yield process
    process.close()


def test_comparison_works_in_any_thread(process):
    found = {}
    expected = {r"\frac{1}{2}": True, "0.25": False, "2/4": True}

    def compare(answer: str) -> None:
        found[answer] = process.equal(answer, "0.5")

    threads = [threading.Thread(target=compare, args=(answer,)) for answer in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == expected


def test_child_that_takes_too_long_is_replaced(process):
    assert process.equal("2/4", "0.5")
    process.limit_s, child = 0.5, process._child
    assert process.equal(TOWER, "9") is False
    assert child.exitcode == -signal.SIGKILL
    process.limit_s = 600
    assert process.equal("2/4", "0.5")


def test_child_that_ended_is_replaced(process):
    assert process.equal("2/4", "0.5")
    process._child.kill()
    assert process.equal("2/4", "0.5") in (True, False)
    assert process.equal("2/4", "0.5")


def test_check_ignores_the_keywords_of_other_checks():
    assert check_math("2/4", "0.5", options=["1"], tolerance=0.1)
    assert not check_math("0.25", "0.5", options=[], tolerance=0.9)


@pytest.mark.parametrize("answer", ["\ud83d", "5\udc00", "x" * 100_000, "\x00", "{" * 1_000])
def test_any_text_is_compared(process, answer):
    assert process.equal(answer, "5") is False
