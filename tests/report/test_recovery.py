# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Rates and intervals computed by hand, every verdict, and the ``probe`` command."""

from __future__ import annotations

from itertools import product
from math import comb, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from verl_mapo import cli
from verl_mapo.report.load import Rollout, RunData
from verl_mapo.report.recovery import NULL, Rate, Recovery, Z, all_wrong_rate, recovery, recovery_of, wilson
from verl_mapo.rollout.statuses import TurnStatus
from verl_mapo.rollout.trajectory import Turn

ANSWER = [Turn((0, 3), "<answer>A</answer>")]
BAD_CALL = [Turn((0, 3), "<tool_call>{", TurnStatus.NO_JSON), Turn((5, 8), "<answer>A</answer>")]


@pytest.fixture
def make_group(make_record, make_axpo):
    """Records of a group.

    ``users`` and ``others`` are outcomes of rollouts with and without a call; ``prefixes`` has the outcomes of the
    continuations of a source by its session number.
    """

    def group(users=(), others=(), prefixes=None, step=1, uid="g"):
        prefixes, n = prefixes or {}, len(users) + len(others)
        kinds = [{} for _ in users] + [{"turns": ANSWER} for _ in others]
        records = []
        for session, (outcome, kind) in enumerate(zip([*users, *others], kinds, strict=True)):
            role, prefix = ("source", session) if session in prefixes else ("plain", -1)
            records.append(make_record(session=session, outcome=outcome, axpo=make_axpo(role, prefix), **kind))
        rows = [(source, outcome) for source, outcomes in prefixes.items() for outcome in outcomes]
        for session, (source, outcome) in enumerate(rows, n):
            records.append(make_record(session=session, outcome=outcome, axpo=make_axpo("resample", source)))
        return [record | {"step": step, "uid": uid} for record in records]

    return group


@pytest.fixture
def records(make_group):
    """Two steps of two groups of four rollouts. Two groups trigger; two and one of their prefixes are resampled."""
    return [
        *make_group([0, 0], [1, 0], {0: [0, 0], 1: [0, 1]}, uid="a"),
        *make_group([1, 0], [0, 0], uid="b"),
        *make_group([0], [0, 0, 1], {0: [0, 0]}, step=2, uid="a"),
        *make_group([], [0, 1, 0, 0], step=2, uid="c"),
    ]


def counted(records, **budget) -> Recovery:
    """The recovery of decoded lines."""
    return recovery(map(Rollout.from_record, records), **budget)


def of(recovered: Rate, steps: int = 4) -> Recovery:
    """A recovery with these prefixes, all groups triggered."""
    many = Rate(recovered.total, recovered.total)
    return Recovery(steps, many, Rate(0, recovered.total), many, many, recovered, recovered, None)


def test_counts_of_a_run_are_those_counted_by_hand(records):
    found = counted(records, slots_a_step=2)
    assert found.steps == 2
    assert found.users == Rate(5, 16)
    assert found.correct == Rate(1, 5)
    assert found.groups == Rate(3, 4)
    assert found.triggered == Rate(2, 3)
    assert found.recovered == Rate(1, 3)
    assert found.recovered_groups == Rate(1, 2)
    assert found.slots == Rate(3, 4)
    assert found == counted(reversed(records), slots_a_step=2)


def test_correct_continuation_counts_neither_as_rollout_nor_as_correct_tool_user(make_group):
    found = counted(make_group([0], [0], {0: [1, 1]}))
    assert (found.users, found.correct, found.triggered) == (Rate(1, 2), Rate(0, 1), Rate(1, 1))
    assert (found.recovered, found.recovered_groups) == (Rate(1, 1), Rate(1, 1))


def test_failed_call_is_tool_use_and_an_outcome_below_one_is_wrong(make_record):
    found = counted(
        [make_record(turns=BAD_CALL, outcome=0.99, axpo=None), make_record(turns=ANSWER, outcome=1.0, axpo=None)]
    )
    assert (found.users, found.triggered) == (Rate(1, 2), Rate(1, 1))


def test_tool_user_without_an_outcome_is_neither_right_nor_wrong(make_record):
    unknown = make_record(session=1, outcome=0.0)
    unknown["trajectory"]["error"] = "The answer check math raised KeyError."
    found = counted([make_record(outcome=0.0), unknown])
    assert (found.users, found.correct, found.triggered) == (Rate(1, 2), Rate(0, 1), Rate(0, 1))


def test_records_without_axpo_or_trajectory_are_rollouts(make_record):
    found = counted([make_record(), make_record(outcome=0.0), make_record() | {"trajectory": None}])
    assert (found.users, found.triggered, found.slots) == (Rate(2, 3), Rate(0, 1), None)


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"),
    # z^2 = 3.8415: 1 of 59 has centre (0.016949 + 0.032555) / 1.065110 and half 1.840133 * 0.023001
    [(1, 59, 0.003000, 0.089957), (0, 10, 0.0, 0.277533), (10, 10, 0.722467, 1.0), (5, 10, 0.236593, 0.763407)],
)
def test_wilsons_interval_by_hand(hits, total, low, high):
    assert Rate(hits, total).interval == pytest.approx((low, high), abs=2e-5)


def test_empty_rate_has_no_share_and_the_widest_interval():
    assert (Rate(0, 0).share, Rate(0, 0).interval) == (None, (0.0, 1.0))


@given(st.integers(1, 500).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total))))
def test_ends_of_the_interval_are_z_of_their_own_standard_errors_from_the_share(observed):
    hits, total = observed
    for end in wilson(hits / total, total):
        assert abs(hits / total - end) == pytest.approx(Z * sqrt(end * (1 - end) / total), abs=1e-6)


@given(st.integers(1, 400).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total))))
def test_more_steps_is_the_smallest_number_that_decides(observed):
    found = of(Rate(*observed), steps=4)
    share = found.recovered.share
    if share == NULL:
        assert found.more_steps is None
        return

    def decides(steps: int) -> bool:
        low, high = wilson(share, found.recovered.total * steps / found.steps)
        return low > NULL or high < NULL

    assert (found.more_steps == 0) == decides(found.steps)
    assert decides(found.steps + found.more_steps)
    assert found.more_steps == 0 or not decides(found.steps + found.more_steps - 1)


def slow_all_wrong_rate(tool_rate, accuracy, n):
    """The sum over the number of tool users, at least one."""
    exists = [comb(n, k) * tool_rate**k * (1 - tool_rate) ** (n - k) for k in range(1, n + 1)]
    return sum(p * (1 - accuracy) ** k for k, p in enumerate(exists, 1)) / sum(exists)


def test_rate_observed_in_the_paper_corresponds_to_a_third_of_calls_correct():
    assert all_wrong_rate(0.3, 0.33, 8) == pytest.approx(0.40, abs=0.005)
    assert all_wrong_rate(1.0, 0.5, 3) == pytest.approx(1 / 8)


@pytest.mark.parametrize(("tool_rate", "accuracy", "n"), product([0.01, 0.3, 1.0], [0.0, 0.33, 1.0], [1, 8]))
def test_all_wrong_rate_is_the_sum_over_numbers_of_tool_users(tool_rate, accuracy, n):
    assert all_wrong_rate(tool_rate, accuracy, n) == pytest.approx(slow_all_wrong_rate(tool_rate, accuracy, n))


def test_expected_rate_is_computed_from_the_rates_of_the_run(records):
    assert counted(records).expected == pytest.approx(slow_all_wrong_rate(5 / 16, 1 / 5, 4))


@pytest.mark.parametrize(
    ("recovered", "verdict"),
    [
        (Rate(12, 40), "Yes: at least 18.1% of prefixes recover. Only below about 5%, expect no gain from AXPO."),
        (Rate(0, 100), "No: at most 3.7% of prefixes recover. Below about 5%, expect no gain from AXPO."),
        # (3.8415 * 0.0475 / 0.0330508^2) = 167.05, prefixes, 108.05 more, at 59 in 4 steps: 7.3
        (
            Rate(1, 59),
            "between 0.3% and 9.0% of prefixes recover. Below about 5%, expect no gain from AXPO. At the rate so far 8",
        ),
        (Rate(1, 20), "The rate so far is exactly at this limit"),
    ],
)
def test_verdict_depends_on_the_interval_of_recovered_prefixes(recovered, verdict):
    assert verdict in of(recovered).verdict


def test_one_more_step_is_singular():
    assert "At the rate so far 1 more step would decide, 25 in all." in of(Rate(0, 71), steps=24).verdict


@pytest.mark.parametrize(
    ("group", "verdict"),
    [
        (None, "Not clear: there are no rollouts."),
        ({"others": [0, 1]}, "No: none of 2 rollouts called a tool"),
        ({"users": [0, 1]}, "No, judging by 1 group with tool users"),
        ({"users": [0, 0]}, "Not clear: 1 group would trigger AXPO, but no prefix was resampled"),
    ],
)
def test_verdict_says_why_no_prefix_was_resampled(group, verdict, make_group):
    found = counted(make_group(**group) if group else [])
    assert found.verdict.startswith(verdict) and found.verdict.endswith(".")
    assert found.more_steps is None


@pytest.fixture
def axpo_run(write_run, records):
    """The run of :func:`records`, with a budget of 0.25 x 16 / 2 = 2 prefixes a step."""
    run = write_run(records={step: [record for record in records if record["step"] == step] for step in (1, 2)})
    (run / "hydra" / ".hydra").mkdir(parents=True)
    (run / "hydra" / ".hydra" / "config.yaml").write_text(
        "data: {train_batch_size: 4}\n"
        "actor_rollout_ref: {rollout: {n: 4}}\n"
        "algorithm: {adv_estimator: axpo, axpo: {continuations: 2, ratio: 0.25}}\n"
    )
    return run


def test_budget_comes_from_the_configuration(axpo_run, records):
    assert recovery_of(RunData.open(axpo_run)) == counted(records, slots_a_step=2)


def test_run_without_axpo_has_no_budget(write_run, records):
    assert recovery_of(RunData.open(write_run(records={1: records[:4]}))).slots is None


def probe(run, *options):
    done = CliRunner().invoke(cli.app, ["probe", "--run", str(run), *options])
    return done.exit_code, " ".join(done.output.split())


@pytest.fixture
def launched(monkeypatch):
    """The overrides of every launch. A launch calls ``launched.then`` and returns ``launched.code``."""

    class Launches(list):
        code, then = 0, staticmethod(lambda: None)

    calls = Launches()

    def launch(run, config, overrides, timeout_h, verbose):
        calls.append(overrides)
        calls.then()
        return calls.code

    monkeypatch.setattr(cli, "launch_run", launch)
    return calls


def test_run_with_rollouts_is_read_and_not_launched(axpo_run, launched):
    code, text = probe(axpo_run)
    assert code == 0 and launched == []
    assert "already holds rollouts" in text and "Rollouts of 2 steps" in text
    for row in ("5 │ 16 │ 31.2%", "3 │ 4 │ 75.0%", "1 │ 3 │ 33.3% │ 6.1% to 79.2%", "Yes: at least 6.1%", "1 of 59"):
        assert row in text


def test_probe_passes_the_overrides_on_with_a_learning_rate_of_zero(axpo_run, launched, tmp_path):
    launched.then = lambda: axpo_run.rename(tmp_path / "fresh")
    training = ["task=toy", "method=mapo", "actor_rollout_ref.actor.optim.lr=1e-4", "trainer.total_training_steps=40"]
    code, text = probe(tmp_path / "fresh", "--steps", "7", *training)
    assert code == 0 and "already holds rollouts" not in text and "Will AXPO have anything to recover" in text
    (overrides,) = launched
    assert overrides[:4] == training
    assert set(overrides[4:]) == {
        "method=axpo",
        "actor_rollout_ref.actor.optim.lr=0",
        "trainer.total_training_steps=7",
        "records.share=1",
        "trainer.val_before_train=false",
        "trainer.test_freq=-1",
        "trainer.save_freq=-1",
    }


def test_exit_code_of_a_failed_launch_is_returned(launched, tmp_path):
    launched.code = 70
    assert probe(tmp_path / "fresh") == (70, "")


def test_shares_of_nothing_are_shown_as_a_dash(write_run, make_group):
    code, text = probe(write_run(records={1: make_group(others=[0, 1])}))
    assert code == 0
    assert "0 │ 0 │ –" in text and "No: none of 2 rollouts called a tool" in text and "1 of 59" not in text
