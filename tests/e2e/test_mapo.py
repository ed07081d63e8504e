# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Real runs: stock verl, ray, FSDP2, vLLM, TransferQueue, with `algorithm.adv_estimator=mapo`."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
from support.checked_run import check_nothing_lost, check_parts_of_advantages, check_weights_changed
from support.kill_at import PLACES
from support.real_run import PROMPTS, killed, metrics_of, observed, rollouts_of, toy_overrides, train

from verl_mapo.report.build import build_report

pytestmark = pytest.mark.e2e

VALIDATED = (2, 3)
THREE_STEPS = [
    "trainer.total_training_steps=3",
    "trainer.save_freq=1",
    "trainer.test_freq=2",
    "data.val_batch_size=8",
    "data.val_max_samples=8",
]
SAME = ("mapo/outcome/mean", "mapo/alignment/mean", "rollout_visual/tool_rate", "actor/grad_norm")


@pytest.fixture(scope="module")
def long_run(toys, tmp_path_factory) -> Path:
    """Three uninterrupted steps of the tiny Qwen2.5-VL with checkpoints, and copies of its folder during the second."""
    run = tmp_path_factory.mktemp("runs") / "uninterrupted"
    train(run, [*toy_overrides(toys["qwen2_5_vl"]), *THREE_STEPS], observed(COPY_AT="2"))
    return run


def test_weights_change_and_vllm_uses_the_new_weights(long_run, toys):
    """The second step's rollouts come from other weights than the first's, and actor and rollout agree on them."""
    check_weights_changed(long_run, toys["qwen2_5_vl"].model)
    for step, metrics in metrics_of(long_run).items():
        assert metrics["training/rollout_probs_diff_max"] < 1e-3, step
        assert metrics["actor/grad_norm"] > 0


def test_every_metric_of_mapo_is_logged(long_run):
    logged = set(metrics_of(long_run)[2])
    expected = {"outcome/mean", "alignment/mean", "alignment/std", "alignment/unscored_share", "a_out/std", "a_sem/std"}
    expected |= {"std_floor/outcome_share", "std_floor/alignment_share"}
    assert {f"mapo/{name}" for name in expected} <= logged
    rollout = {"tool_rate", "turns", "valid_call_rate", "crop_area", "label_tokens", "end/answer"}
    assert {f"rollout_visual/{name}" for name in rollout} <= logged


def test_records_hold_the_parts_of_the_advantage(long_run):
    rollouts = rollouts_of(long_run, 2)
    assert len(rollouts) == 8 * PROMPTS and len({rollout["uid"] for rollout in rollouts}) == PROMPTS
    check_parts_of_advantages(rollouts)


def test_report_of_a_run_has_images_and_curves(long_run, tmp_path):
    files = build_report(long_run, tmp_path, samples=4)
    page = files.html.read_text()
    assert "data:image" in page and files.curves.stat().st_size > 10_000


@pytest.mark.parametrize("place", PLACES)
def test_kill_at_any_place_of_a_step_leaves_a_folder_from_which_nothing_is_missing(long_run, place):
    copy = long_run.with_name(f"{long_run.name}@{place}")
    check_nothing_lost(copy, marked=2 if place == "marked" else 1, validated=VALIDATED)


def test_killed_run_goes_on_as_if_it_had_not_been(long_run, toys, tmp_path):
    """The kill falls where verl alone has marked the checkpoint of the step, but not logged its metrics."""
    overrides = [*toy_overrides(toys["qwen2_5_vl"]), *THREE_STEPS]
    killed(tmp_path, overrides, "recorded 2")
    check_nothing_lost(tmp_path, marked=1, validated=VALIDATED)
    train(tmp_path, overrides)
    check_same_as(long_run, tmp_path)


@pytest.mark.matrix
def test_run_killed_at_one_place_after_another_goes_on_as_if_it_had_not_been(long_run, toys, tmp_path):
    overrides = [*toy_overrides(toys["qwen2_5_vl"]), *THREE_STEPS]
    for place in PLACES:
        killed(tmp_path, overrides, f"{place} 2")
        check_nothing_lost(tmp_path, marked=2 if place == "marked" else 1, validated=VALIDATED)
    train(tmp_path, overrides)
    check_same_as(long_run, tmp_path)


def check_same_as(whole: Path, resumed: Path) -> None:
    """Every step of the resumed run logged what it logged in the whole run."""
    check_nothing_lost(resumed, marked=3, validated=VALIDATED)
    expected, found = metrics_of(whole), metrics_of(resumed)
    assert sorted(found) == sorted(expected) == [1, 2, 3]
    for step, name in product(found, SAME):
        assert found[step][name] == pytest.approx(expected[step][name], rel=1e-3), (step, name)
