# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""math-verify in a child process, also with a tower of powers that it cannot compute in time."""

import threading

import pytest

from verl_mapo.rewards.answers import Undecided
from verl_mapo.rewards.compute_score import compute_score
from verl_mapo.rewards.math_process import MathProcess, check_math, cpu_limit

TOWER = "9^{9^{9^{9}}}"


@pytest.fixture
def process():
    process = MathProcess(cpu_s=60)
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


def test_comparison_that_takes_too_much_cpu_time_is_undecided_and_the_next_one_works(process):
    assert process.equal("2/4", "0.5")
    process.cpu_s = 0.3
    with pytest.raises(Undecided, match=r"took more than 0\.3 s of CPU time"):
        process.equal(TOWER, "9")
    process.cpu_s = 60
    assert process.equal("2/4", "0.5")


def test_limit_counts_cpu_time_and_not_wall_time():
    with cpu_limit(0.2):
        threading.Event().wait(0.3)
    with pytest.raises(Undecided, match=r"more than 0\.05 s of CPU time"), cpu_limit(0.05):
        while True:
            pass


def test_child_that_does_not_answer_is_replaced(process):
    assert process.equal("2/4", "0.5")
    process.wall_s, child = 0.2, process._child
    with pytest.raises(Undecided, match=r"did not answer within 0\.2 s"):
        process.equal(TOWER, "9")
    assert not child.is_alive()


def test_comparison_is_repeated_where_the_child_ended(process):
    assert process.equal("2/4", "0.5")
    process._child.kill()
    assert process.equal("2/4", "0.5")


def test_score_of_an_undecided_answer_is_0(monkeypatch):
    def slow(*_, **__):
        raise Undecided("too slow")

    monkeypatch.setattr("verl_mapo.rewards.math_process.check_math", slow)
    assert compute_score("9", "9^9") == 0.0


def test_check_ignores_the_keywords_of_other_checks():
    assert check_math("2/4", "0.5", options=["1"], tolerance=0.1)
    assert not check_math("0.25", "0.5", options=[], tolerance=0.9)


@pytest.mark.parametrize("answer", ["\ud83d", "5\udc00", "x" * 100_000, "\x00", "{" * 1_000])
def test_any_text_is_compared(process, answer):
    process.cpu_s = 1
    try:
        assert process.equal(answer, "5") is False
    except Undecided as error:
        assert "CPU time" in str(error)
