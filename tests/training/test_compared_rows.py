# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Which rows the methods compare: one rule for all of them, through verl's own advantage step.

Each test draws a whole step and changes what must not matter.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.fake_queue import FakeQueue, jagged, scored_rows

from verl_mapo.columns import AXPO_COLUMNS, CONTINUATION, PLAIN, SOURCE, TURN_COLUMNS, VISUAL_FOCUS
from verl_mapo.names import ESTIMATORS
from verl_mapo.rollout.statuses import EndReason
from verl_mapo.rollout.trajectory import Trajectory
from verl_mapo.settings import ConfigError
from verl_mapo.training.config_checks import check_config
from verl_mapo.training.mapo import Mapo

LENGTH, TURNS, K = 4, 2, 2
FULL, AFTER_PREFIX, MASKED = [1, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 0]

CREDIT = "algorithm.visual_credit.enable=true"
METHODS: dict[str, list[str]] = {
    "mapo": [],
    "mapo, gated": ["algorithm.mapo.coupling=gated"],
    "mapo, reward_sum": ["algorithm.mapo.coupling=reward_sum"],
    "mapo, convex, zero": ["algorithm.mapo.coupling=convex", "algorithm.mapo.no_tool=zero"],
    "mapo, group_mean": ["algorithm.mapo.no_tool=group_mean"],
    "mapo by turn": ["algorithm.mapo.credit=turn"],
    "mapo, only centred": ["algorithm.norm_adv_by_std_in_grpo=false"],
    "axpo": ["method=axpo"],
    "axpo, one group": ["method=axpo", "algorithm.axpo.separate_group=false"],
    "axpo, grpo": ["method=axpo", "algorithm.axpo.unrecovered_source=grpo", "algorithm.axpo.std=population"],
    "axpo and mapo": ["method=axpo", "algorithm.axpo.alignment=true"],
    "vgpo": ["method=vgpo"],
    "mapo and credit": [CREDIT],
    "all three": ["method=axpo", "algorithm.axpo.alignment=true", CREDIT],
    "hdpo": ["method=hdpo"],
    "naar and credit": ["method=naar", CREDIT],
    "dtpo": ["method=dtpo", "algorithm.dtpo.by_turn=false"],
    "pepo": ["method=pepo", "algorithm.pepo.schedule_steps=7"],
}
every_method = pytest.mark.parametrize("name", METHODS)


class Row(NamedTuple):
    """One row; ``rejected``: verl's rollout correction rejects all of its tokens."""

    uid: str
    outcome: float
    score: float
    focus: tuple[float, ...]
    mask: list[int]
    role: int = PLAIN
    prefix_id: int = -1
    rejected: bool = False

    @property
    def counts(self) -> bool:
        return any(self.mask) and not self.rejected


@st.composite
def steps(draw: st.DrawFn, fraction: st.SearchStrategy[float]) -> list[Row]:
    """A step of one to three prompts; under AXPO a prompt may have a source with K continuations."""
    score, focus = st.floats(0, 1, width=32), st.tuples(*[st.floats(0.125, 0.875, width=32)] * LENGTH)

    def row(uid: str, mask: list[int] = FULL, role: int = PLAIN, prefix_id: int = -1) -> Row:
        mask = draw(st.sampled_from([mask, mask, mask, MASKED]))
        rejected = draw(st.integers(0, 3)) == 0
        return Row(uid, draw(fraction), draw(score), draw(focus), mask, role, prefix_id, rejected)

    rows = []
    for uid in "abc"[: draw(st.integers(1, 3))]:
        rows += [row(uid) for _ in range(draw(st.integers(1, 4)))]
        if draw(st.booleans()):
            rows.append(row(uid, role=SOURCE, prefix_id=9))
            rows += [row(uid, AFTER_PREFIX, CONTINUATION, 9) for _ in range(K)]
    return [*rows, Row("live", 1.0, 0.5, (0.5,) * LENGTH, FULL)]  # a step without any token stops the run


def put(queue: FakeQueue, rows: list[Row]) -> Any:
    """The rows as they are in the queue before the advantage step."""
    trajectory = Trajectory([], [], [], EndReason.ANSWER)
    masks = [torch.tensor(row.mask) for row in rows]
    queue.fields.clear()
    queue.fields.update(scored_rows(masks, [row.outcome for row in rows], [trajectory] * len(rows)))
    queue.fields["uid"] = [row.uid for row in rows]
    queue.fields["rollout_log_probs"] = jagged([torch.full((LENGTH,), -5.0 * row.rejected) for row in rows])
    scores = torch.tensor([[row.score, float("nan")] for row in rows])
    status = torch.tensor([[1, 0]] * len(rows))
    spans = torch.tensor([[[0, 2], [-1, -1]]] * len(rows))
    for column, values in zip(TURN_COLUMNS, (scores, status, spans), strict=True):
        queue.fields[column.name] = values.to(column.dtype)
    given = [2 * (row.role != PLAIN) for row in rows]
    values = [[row.role for row in rows], given, [row.prefix_id for row in rows], *[[0.0] * len(rows)] * 3]
    for column, value in zip(AXPO_COLUMNS, values, strict=True):
        queue.fields[column.name] = torch.tensor(value, dtype=column.dtype)
    queue.fields["entropy"] = jagged([torch.tensor(row.focus) for row in rows])
    # One prompt token: a score lies one place before its token.
    queue.fields[VISUAL_FOCUS.name] = jagged([torch.tensor([*row.focus, float("nan")]) for row in rows])
    keys = [f"{row.uid}_{number}_0" for number, row in enumerate(rows)]
    return queue.batch(keys, prompt_len=[1] * len(rows), response_len=[LENGTH] * len(rows))


@pytest.fixture
def advantages_of(queue, make_trainer) -> Callable[[list[Row], str], torch.Tensor]:
    """(B, LENGTH) the advantages of some rows after a step of a method, with verl's own rejection."""
    correction = [
        "algorithm.rollout_correction.rollout_rs=seq_mean_k1",
        "algorithm.rollout_correction.rollout_rs_threshold='0.5_2.0'",
    ]
    trainer_of = cache(lambda name: make_trainer(*METHODS[name], *correction))

    def advantages(rows: list[Row], name: str) -> torch.Tensor:
        trainer_of(name)._compute_advantage(put(queue, rows), {})
        return torch.stack(queue.fields["advantages"].unbind())

    return advantages


def rows_of(name: str, rows: list[Row]) -> list[Row]:
    """The drawn rows as a method may get them."""
    if "method=axpo" not in METHODS[name]:
        return [row._replace(role=PLAIN, prefix_id=-1) for row in rows]
    if "algorithm.axpo.unrecovered_source=grpo" in METHODS[name]:
        # Which tokens of a source are in the loss is decided before verl rejects its continuations.
        return [row._replace(rejected=row.rejected and row.role != CONTINUATION) for row in rows]
    return rows


fractions = st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1, width=32))
few = settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])


@every_method
@few
@given(rows=steps(fractions), other=st.floats(-9, 9, width=32))
def test_reward_score_and_focus_of_a_row_without_a_token_in_the_loss_change_no_other_row(
    advantages_of, name, rows, other
):
    rows = rows_of(name, rows)
    changed = [
        row if row.counts else row._replace(outcome=other, score=abs(other) / 9, focus=row.focus[::-1]) for row in rows
    ]
    before = advantages_of(rows, name)
    after = advantages_of(changed, name)
    assert torch.equal(before, after)
    out = torch.tensor([not row.counts for row in rows])
    assert before[out].eq(0).all()


@every_method
@few
@given(rows=steps(fractions))
def test_row_without_a_token_in_the_loss_may_as_well_be_missing(advantages_of, name, rows):
    rows = rows_of(name, rows)
    counts = torch.tensor([row.counts for row in rows])
    before = advantages_of(rows, name)
    after = advantages_of([row for row in rows if row.counts], name)
    assert torch.allclose(before[counts], after, atol=1e-6)


@every_method
@few
@given(size=st.integers(2, 64), value=st.floats(0, 1, width=32), focus=st.floats(0.125, 0.875, width=32))
def test_group_of_equal_rewards_and_scores_has_exactly_no_advantage(advantages_of, name, size, value, focus):
    rows = [Row("a", value, value, (focus, 0.5, 0.2, 0.3), FULL) for _ in range(size)]
    assert advantages_of(rows, name).eq(0).all()


@pytest.mark.parametrize("name", ["vgpo", "mapo", "axpo"])
def test_eight_rewards_of_seven_tenths_have_no_advantage(advantages_of, name):
    """verl's GRPO computes the mean in float32 and gives each of them 0.056."""
    rows = [Row("a", 0.7, 0.3, (0.5, 0.4, 0.6, 0.3), FULL)] * 8
    assert advantages_of(rows, name).eq(0).all()


@every_method
def test_row_without_a_peer_has_no_advantage(advantages_of, name):
    focus = (0.5, 0.4, 0.6, 0.3)
    rows = [Row("a", 1.0, 0.3, focus, FULL), Row("b", 1.0, 0.3, focus, FULL), Row("b", 0.0, 0.1, focus, MASKED)]
    assert advantages_of(rows, name).eq(0).all()


def test_only_surviving_continuation_of_a_prefix_has_no_advantage(advantages_of):
    focus = (0.5,) * LENGTH
    rows = [
        Row("a", 1.0, 0.3, focus, FULL),
        Row("a", 0.0, 0.3, focus, FULL, SOURCE, 1),
        Row("a", 1.0, 0.3, focus, AFTER_PREFIX, CONTINUATION, 1),
        Row("a", 0.0, 0.3, focus, AFTER_PREFIX, CONTINUATION, 1, rejected=True),
    ]
    for name in ("axpo", "axpo and mapo", "all three"):
        assert advantages_of(rows, name)[2:].eq(0).all(), name


# ----------------------------------------------------------------------------------------------- the KL in the reward


def refusal(make_trainer, *overrides: str) -> str:
    with pytest.raises(ConfigError) as refused:
        check_config(make_trainer(*overrides, "algorithm.use_kl_in_reward=true").config)
    return str(refused.value)


@pytest.mark.parametrize("method", ESTIMATORS)
def test_kl_penalty_in_the_reward_is_refused_with_the_setting_that_does_it(make_trainer, method):
    sentence = refusal(make_trainer, f"method={method}")
    for word in ("algorithm.use_kl_in_reward=True", f"adv_estimator={method}", "actor.use_kl_loss=true"):
        assert word in sentence


class Derived(Mapo):
    """A method of another package that builds on a built-in one."""

    name = "derived"


def test_method_that_derives_from_a_built_in_one_refuses_the_kl_penalty_too(make_trainer, monkeypatch):
    monkeypatch.setattr("verl_mapo.training.method.Derived", Derived, raising=False)
    path = "verl_mapo.training.method.Derived"
    assert f"adv_estimator={path}" in refusal(make_trainer, f"algorithm.adv_estimator={path}")


def test_stock_grpo_with_visual_credit_may_have_the_kl_penalty(make_trainer):
    trainer = make_trainer("algorithm.adv_estimator=grpo", CREDIT, "algorithm.use_kl_in_reward=true")
    assert check_config(trainer.config) is None


@pytest.mark.parametrize("penalty", [0.0, 0.01, 0.5])
def test_penalised_rewards_do_not_change_what_is_right(queue, make_trainer, penalty):
    """A prefix among four rollouts, one of them right, is recovered: +0.87, and not -0.50."""
    focus = (0.5,) * LENGTH
    originals = [Row("a", float(number == 3), 0.3, focus, FULL) for number in range(3, -1, -1)]
    originals[3] = originals[3]._replace(role=SOURCE, prefix_id=3)
    retries = [Row("a", float(number == 0), 0.3, focus, AFTER_PREFIX, CONTINUATION, 3) for number in range(4)]
    trainer = make_trainer("method=axpo")
    step = trainer._fetch(put(queue, originals + retries))
    for method in trainer.methods:
        method.before_advantage(step)
    rewards = step.fields["rm_scores"].to_padded_tensor(0) - penalty / LENGTH
    advantages = trainer.estimator.advantages(step, rewards, step.padded("response_mask"))
    assert advantages[3].tolist() == pytest.approx([0.866, 0.866, 0, 0], abs=1e-3)
