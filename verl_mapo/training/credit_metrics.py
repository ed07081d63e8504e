# Copyright 2026 The verl_mapo authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""What visual credit did in a step, as named numbers ``visual_credit/*``."""

from __future__ import annotations

import torch
from torch import Tensor

from verl_mapo.advantages.visual_credit import BOUNDS, VisualCreditConfig, VisualFactors


def credit_metrics(
    score: Tensor, response_mask: Tensor, factors: VisualFactors, config: VisualCreditConfig
) -> dict[str, float]:
    """Focus and factors of the policy tokens that have a score; empty where none has.

    ``late_over_early``: mean focus of the second half of a rollout's tokens over that of the first, below 1 where the
    picture is forgotten. ``length_correlation``: of the trajectory score with the number of policy tokens.
    ``at_bounds/*``: share of factors that ``clamp`` cut.

    Args:
        score: (B, L) float32, the focus, NaN where there is none.
        response_mask: (B, L), 1 on policy tokens.
    """
    policy = response_mask.bool()
    scored = policy & ~score.isnan()
    if not scored.any():
        return {}
    cosine, length = 2 * score[scored] - 1, policy.sum(dim=1)
    late = policy.cumsum(dim=1) > length.unsqueeze(1) / 2
    visual, token, trajectory = factors.visual, factors.token[scored], factors.trajectory[factors.visual]
    metrics = {
        "cosine/mean": cosine.mean(),
        "cosine/min": cosine.min(),
        "cosine/negative_share": (cosine < 0).float().mean(),
        "late_over_early": score[scored & late].mean() / score[scored & ~late].mean(),
        "gate_rate": factors.gate.sum() / scored.sum(),
        "visual_rows": visual.sum() / (length > 0).sum(),
        "token_factor/min": token.min(),
        "token_factor/max": token.max(),
        "token_factor/mean": token.mean(),
        "trajectory_factor/min": trajectory.min(),
        "trajectory_factor/max": trajectory.max(),
        "trajectory_factor/mean": trajectory.mean(),
    }
    pairs = torch.stack([factors.trajectory_score[visual], length[visual].double()])
    if pairs.shape[1] > 1:
        metrics["length_correlation"] = torch.corrcoef(pairs)[0, 1]
    if config.clamp != "none":
        for name, values, bounds in zip(
            ("token", "trajectory"), (token, trajectory), BOUNDS[config.clamp], strict=True
        ):
            metrics[f"at_bounds/{name}"] = torch.isin(values, values.new_tensor(bounds)).float().mean()
    return {f"visual_credit/{name}": float(value) for name, value in metrics.items() if not torch.isnan(value)}
