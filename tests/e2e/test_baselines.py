# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Two steps of each estimator that MAPO is compared with, on the visual tool loop.

PPO is not among them: verl loads its critic with FlashAttention, which needs a GPU.
"""

from __future__ import annotations

import pytest
from support.real_run import rollouts_of, toy_overrides, train

pytestmark = [pytest.mark.e2e, pytest.mark.matrix]


@pytest.mark.parametrize("method", ["grpo", "dr_grpo", "rloo", "dapo", "gspo"])
def test_baseline_trains_on_the_visual_tool_loop(method, toy, tmp_path):
    metrics = train(tmp_path, [*toy_overrides(toy), f"method={method}"])
    assert {1, 2} <= {*metrics}
    for step in (1, 2):
        assert metrics[step]["actor/grad_norm"] >= 0 and "mapo/outcome/mean" not in metrics[step]
        assert metrics[step]["rollout_visual/tool_rate"] > 0 and rollouts_of(tmp_path, step)
