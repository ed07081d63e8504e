# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""A real run with `algorithm.adv_estimator=axpo`: failed tool calls are resampled while the batch is generated."""

from __future__ import annotations

import pytest
from support.checked_run import check_groups, groups_of
from support.real_run import metrics_of, toy_overrides, train

pytestmark = [pytest.mark.e2e, pytest.mark.matrix]


def test_seeded_run_resamples_prefixes_and_recovers_some(toys, tmp_path):
    more = ["data.train_batch_size=8", "actor_rollout_ref.actor.ppo_mini_batch_size=8", "algorithm.axpo.ratio=1.0"]
    train(tmp_path, [*toy_overrides(toys["qwen2_5_vl"]), "method=axpo", *more])
    metrics = metrics_of(tmp_path)
    for step in (1, 2):
        check_groups(tmp_path, step)
        assert metrics[step]["axpo/slots/used"] >= 1 and metrics[step]["axpo/lost"] == 0
        assert metrics[step]["actor/grad_norm"] > 0 and metrics[step]["training/rollout_probs_diff_max"] < 1e-3
    sources = [source for step in (1, 2) for group in groups_of(tmp_path, step).values() for source in group["source"]]
    assert any(source["axpo"]["recovered"] for source in sources)
    assert all(source["axpo"]["a_prefix"] > 0 for source in sources if source["axpo"]["recovered"])
