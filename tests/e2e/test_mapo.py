# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Real runs: stock verl, ray, FSDP2, vLLM, TransferQueue, with `algorithm.adv_estimator=mapo`."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support.real_run import PROMPTS, metrics_of, rollouts_of, start, toy_overrides, train

from verl_mapo.report.build import build_report

pytestmark = pytest.mark.e2e

THREE_STEPS = ["trainer.total_training_steps=3", "trainer.save_freq=2", "trainer.test_freq=3", "data.val_batch_size=8"]


@pytest.fixture(scope="module")
def long_run(toys, tmp_path_factory) -> Path:
    """Three uninterrupted steps of the tiny Qwen2.5-VL, with a checkpoint after two."""
    run = tmp_path_factory.mktemp("runs") / "uninterrupted"
    train(run, [*toy_overrides(toys["qwen2_5_vl"]), *THREE_STEPS])
    return run


@pytest.fixture(scope="module")
def short_run(toys, tmp_path_factory) -> Path:
    """Two steps of the tiny Qwen3-VL."""
    run = tmp_path_factory.mktemp("runs") / "qwen3"
    train(run, [*toy_overrides(toys["qwen3_vl"]), "trainer.save_freq=2"])
    return run


@pytest.fixture(params=["qwen2_5_vl", "qwen3_vl"])
def run(request) -> tuple[str, Path]:
    return request.param, request.getfixturevalue("long_run" if request.param == "qwen2_5_vl" else "short_run")


def test_weights_change_and_vllm_uses_the_new_weights(run, toys):
    """The second step's rollouts come from other weights than the first's, and actor and rollout agree on them."""
    family, folder = run
    before = load_file(toys[family].model / "model.safetensors")
    shard = torch.load(next(folder.glob("checkpoints/global_step_2/actor/model_*.pt")), weights_only=False)
    name = next(name for name in before if name.endswith("q_proj.weight") and "visual" not in name)
    key = next(key for key in shard if key.endswith(name.split("language_model.")[-1].split("layers.")[-1]))
    after = shard[key].full_tensor() if hasattr(shard[key], "full_tensor") else shard[key]
    assert not torch.equal(after.float(), before[name].float())
    for step, metrics in metrics_of(folder).items():
        assert metrics["training/rollout_probs_diff_max"] < 1e-3, step
        assert metrics["actor/grad_norm"] > 0


def test_every_metric_of_mapo_is_logged(run):
    _, folder = run
    logged = set(metrics_of(folder)[2])
    expected = {"outcome/mean", "alignment/mean", "alignment/std", "alignment/unscored_share", "a_out/std", "a_sem/std"}
    expected |= {"std_floor/outcome_share", "std_floor/alignment_share"}
    assert {f"mapo/{name}" for name in expected} <= logged
    rollout = {"tool_rate", "turns", "valid_call_rate", "crop_area", "label_tokens", "end/answer"}
    assert {f"rollout_visual/{name}" for name in rollout} <= logged


def test_records_hold_the_parts_of_the_advantage(run):
    _, folder = run
    rollouts = rollouts_of(folder, 2)
    assert len(rollouts) == 8 * PROMPTS and len({rollout["uid"] for rollout in rollouts}) == PROMPTS
    looked = [rollout for rollout in rollouts if rollout["alignment"] is not None]
    assert looked, "most rollouts of the smoke model zoom"
    for rollout in looked:
        assert rollout["advantage"] == pytest.approx(rollout["a_out"] + 0.4 * rollout["a_sem"], abs=1e-5)
        turns = [turn for turn in rollout["trajectory"]["turns"] if turn["described"]]
        assert rollout["alignment"] == pytest.approx(
            sum(0.95**t * turn["score"] for t, turn in enumerate(turns)) / sum(0.95**t for t in range(len(turns))),
            abs=1e-5,
        )


def test_report_of_a_run_has_images_and_curves(run, tmp_path):
    _, folder = run
    files = build_report(folder, tmp_path, samples=4)
    page = files.html.read_text()
    assert "data:image" in page and files.curves.stat().st_size > 10_000


def test_killed_run_resumes_with_the_metrics_of_an_uninterrupted_run(long_run, toys, tmp_path):
    run = tmp_path / "killed"
    process = start(run, [*toy_overrides(toys["qwen2_5_vl"]), *THREE_STEPS])
    mark = run / "checkpoints" / "latest_checkpointed_iteration.txt"
    deadline = time.monotonic() + 600
    while not mark.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGTERM)
    process.wait(120)
    assert mark.read_text() == "2"
    shutil.rmtree(run / "checkpoints" / "global_step_3", ignore_errors=True)

    train(run, [*toy_overrides(toys["qwen2_5_vl"]), *THREE_STEPS])
    resumed, whole = metrics_of(run), metrics_of(long_run)
    assert sorted(resumed) == [1, 2, 3]
    for name in ("mapo/outcome/mean", "mapo/alignment/mean", "rollout_visual/tool_rate", "actor/grad_norm"):
        assert resumed[3][name] == pytest.approx(whole[3][name], rel=1e-3), name


def test_colocate_async_trains_on_photographs(photo_toy, tmp_path):
    overrides = [*toy_overrides(photo_toy), "trainer.v1.trainer_mode=colocate_async"]
    metrics = train(tmp_path / "run", overrides)
    assert sorted(metrics) == [1, 2] and "mapo/a_sem/std" in metrics[2]
