# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The settings of parts of this package that a run has switched off. None of them stops a run."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from verl_mapo import names
from verl_mapo.advantages.axpo import AxpoSettings
from verl_mapo.advantages.mapo import MapoSettings
from verl_mapo.advantages.visual_credit import VisualCreditSettings
from verl_mapo.rewards.scorers.settings import ScorerSettings
from verl_mapo.rollout.settings import VisualToolSettings
from verl_mapo.training.dead_settings import given, off
from verl_mapo.training.dead_settings_conditions import (
    NO_ALIGNMENT,
    NO_AXPO,
    NO_CREDIT,
    NO_NUMBERS,
    OTHER_LOOP,
    OTHER_MANAGER,
    SAME_MEAN,
)

_SCORER = f"{names.ALIGNMENT_NODE}.scorer"


def _defaults(settings: Any, *left_out: str) -> dict[str, Any]:
    return {name: value for name, value in asdict(settings).items() if name not in left_out}


OWN = (
    off(names.MAPO_NODE, asdict(MapoSettings()), NO_ALIGNMENT, "set algorithm.adv_estimator=mapo"),
    off(
        names.MAPO_NODE,
        {"discount": 0.95},
        given(f"{names.MAPO_NODE}.aggregation", "mean", "sum"),
        "set aggregation=discounted_mean",
    ),
    off(
        names.MAPO_NODE,
        _defaults(MapoSettings(), "beta", "aggregation", "discount", "max_unscored"),  # these two shape the metrics
        given(f"{names.MAPO_NODE}.beta", 0),
        f"set {names.MAPO_NODE}.beta=0.4",
    ),
    off(
        names.MAPO_NODE,
        {"aggregation": "discounted_mean", "discount": 0.95},
        given(f"{names.MAPO_NODE}.credit", "turn"),
        "set credit=trajectory; each turn then has its own score, and only metrics show the aggregated one",
    ),
    off(names.MAPO_NODE, {"no_tool": "neutral"}, SAME_MEAN, "set coupling=advantage_sum"),
    off(
        names.MAPO_NODE,
        {"min_std": 0.01},
        given("algorithm.norm_adv_by_std_in_grpo", False),
        "set algorithm.norm_adv_by_std_in_grpo=true",
    ),
    off(names.AXPO_NODE, asdict(AxpoSettings()), NO_AXPO, "set algorithm.adv_estimator=axpo"),
    off(
        names.AXPO_NODE,
        {"prefix_credit": True, "unrecovered_source": "mask"},
        given(f"{names.AXPO_NODE}.fix_prefix", False),
        f"set {names.AXPO_NODE}.fix_prefix=true",
    ),
    off(
        names.VISUAL_CREDIT_NODE,
        _defaults(VisualCreditSettings(), "enable"),
        NO_CREDIT,
        f"set {names.VISUAL_CREDIT_NODE}.enable=true",
    ),
    off(
        names.VISUAL_CREDIT_NODE,
        {"trajectory_score": "sum", "group": "uid"},
        given(f"{names.VISUAL_CREDIT_NODE}.inter", False),
        f"set {names.VISUAL_CREDIT_NODE}.inter=true",
    ),
    off(
        names.VISUAL_CREDIT_NODE,
        {"gamma": 0.5, "kappa": 0.2},
        given(f"{names.VISUAL_CREDIT_NODE}.beta", 0),
        f"set {names.VISUAL_CREDIT_NODE}.beta=0.3",
    ),
    off(
        names.VISUAL_TOOL_NODE,
        _defaults(VisualToolSettings(), "seed"),  # the toy sets it
        OTHER_LOOP,
        f"set {names.DEFAULT_AGENT_LOOP}={names.AGENT_LOOP}",
    ),
    off(
        names.VISUAL_TOOL_NODE,
        {"scorer_side": 224},
        OTHER_MANAGER,
        f"set {names.REWARD_MANAGER_NAME}={names.REWARD_MANAGER}",
    ),
    off(
        names.ALIGNMENT_NODE,
        {"outcome": "auto", "tolerance": 1e-4, "judge": None},
        OTHER_MANAGER,
        f"set {names.REWARD_MANAGER_NAME}={names.REWARD_MANAGER}",
    ),
    off(
        _SCORER,
        _defaults(ScorerSettings(kind="dotted.path"), "model", "kind", "options"),
        OTHER_MANAGER,
        f"set {names.REWARD_MANAGER_NAME}={names.REWARD_MANAGER}",
    ),
    off(names.ALIGNMENT_NODE, {"tolerance": 1e-4}, NO_NUMBERS, f"set {names.ALIGNMENT_NODE}.outcome=numeric"),
    off(_SCORER, {"api_key_env": None}, given(f"{_SCORER}.kind", "clip"), f"set {_SCORER}.kind=http"),
    off(
        _SCORER,
        {"device": "auto", "dtype": "float32"},
        given(f"{_SCORER}.kind", "http"),
        "the server's own settings decide",
    ),
)
"""The settings of parts of this package that are switched off, with the values at which nothing is said."""
