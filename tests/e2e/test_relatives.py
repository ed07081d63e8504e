# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The methods of one file each, two steps in verl's own trainer."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.real_run import PROMPTS, rollouts_of, toy_overrides, train

from verl_mapo.advantages.groups import EPS
from verl_mapo.training.methods import RELATIVES

pytestmark = [pytest.mark.e2e, pytest.mark.matrix]

N = 8
VOWELS = Path(__file__).parent.parent / "support" / "vowels.py"

OVERRIDES = {
    "dtpo": ["algorithm.dtpo.grounded_from=0.4"],
    "pepo": [f"reward.custom_reward_function.path={VOWELS}"],  # no group without spread
}


@pytest.mark.parametrize("method", RELATIVES)
def test_method_trains_two_steps_and_its_records_hold_the_parts_of_the_advantage(toy, tmp_path, method):
    metrics = train(tmp_path, [*toy_overrides(toy), f"method={method}", *OVERRIDES.get(method, [])])
    for step in (1, 2):
        assert metrics[step]["actor/grad_norm"] >= 0
        assert any(name.startswith(f"{method}/") for name in metrics[step])
        rollouts = rollouts_of(tmp_path, step)
        assert len(rollouts) == N * PROMPTS
        CHECKS[method](metrics[step], rollouts, step)
    assert max(metrics[step]["actor/grad_norm"] for step in (1, 2)) > 0


def calls_of(rollout: dict) -> int:
    return sum(turn["status"] not in ("answer", "cut") for turn in rollout["trajectory"]["turns"])


def check_hdpo(metrics: dict[str, float], rollouts: list[dict], step: int) -> None:
    for rollout in rollouts:
        assert rollout["advantage"] == pytest.approx(rollout["a_out"] + 0.15 * rollout["a_tool"], abs=1e-5)
        assert rollout["outcome"] == 1 or rollout["a_tool"] == 0
    assert metrics["hdpo/calls/all"] == pytest.approx(sum(map(calls_of, rollouts)) / len(rollouts))


def check_naar(metrics: dict[str, float], rollouts: list[dict], step: int) -> None:
    for rollout in rollouts:
        peers = [other for other in rollouts if other["uid"] == rollout["uid"]]
        solved = any(other["outcome"] == 1 and calls_of(other) == 0 for other in peers)
        needless = solved and rollout["outcome"] == 1 and calls_of(rollout) > 0
        assert rollout["adapted_reward"] == (0.25 if needless else rollout["outcome"])


def check_dtpo(metrics: dict[str, float], rollouts: list[dict], step: int) -> None:
    assert metrics["dtpo/called_share"] == pytest.approx(sum(calls_of(each) > 0 for each in rollouts) / len(rollouts))
    for rollout in rollouts:
        peers = [other["adapted_reward"] for other in rollouts if other["uid"] == rollout["uid"]]
        mean = sum(peers) / len(peers)
        spread = (sum((value - mean) ** 2 for value in peers) / (len(peers) - 1)) ** 0.5
        assert rollout["a_out"] == pytest.approx((rollout["adapted_reward"] - mean) / (spread + EPS), abs=1e-3)


def check_pepo(metrics: dict[str, float], rollouts: list[dict], step: int) -> None:
    assert metrics["pepo/progress"] == step / 2 and -1 <= metrics["pepo/cosine/mean"] <= 1
    assert metrics["pepo/factor/mean"] == pytest.approx(1, abs=1e-3)
    assert 0 < metrics["pepo/factor/min"] < 1 < metrics["pepo/factor/max"]


def check_gdpo(metrics: dict[str, float], rollouts: list[dict], step: int) -> None:
    sums = [sum(term["advantage"] for term in rollout["reward_terms"].values()) for rollout in rollouts]
    spread = (sum(value * value for value in sums) / (len(sums) - 1)) ** 0.5
    for rollout, value in zip(rollouts, sums, strict=True):
        terms = rollout["reward_terms"]
        assert terms["outcome"]["value"] == rollout["outcome"] and terms["alignment"]["value"] == rollout["alignment"]
        assert rollout["advantage"] == pytest.approx(value / max(spread, 0.01), abs=1e-4)
    assert {"gdpo/outcome/mean", "gdpo/format/mean"} <= set(metrics)


def check_vppo(metrics: dict[str, float], rollouts: list[dict], step: int) -> None:
    assert metrics["vppo/factor/mean"] == pytest.approx(1, abs=1e-6)
    assert metrics["vppo/factor/min"] == pytest.approx(0.9) and metrics["vppo/factor/max"] > 1
    assert 0.4 <= metrics["vppo/kept_share"] < 0.6
    assert metrics["vppo/divergence/kept"] > metrics["vppo/divergence/mean"] > 0


def check_srpo(metrics: dict[str, float], rollouts: list[dict], step: int) -> None:
    assert 0 < metrics["srpo/perception_share"] < 1 and metrics["srpo/dependency/mean"] > 0
    assert 0.5 <= metrics["srpo/factor/min"] < 1 < metrics["srpo/factor/max"] <= 1.5


def check_papo(metrics: dict[str, float], rollouts: list[dict], step: int) -> None:
    assert metrics["papo/divergence/mean"] > 0
    for name in ("divergence", "entropy", "entropy_changed"):
        assert metrics[f"actor/auxiliary/{name}"] > 0


def check_pgpo(metrics: dict[str, float], rollouts: list[dict], step: int) -> None:
    assert metrics["pgpo/factor/mean"] == pytest.approx(1, abs=1e-3)
    assert metrics["pgpo/factor/min"] == 0 and metrics["pgpo/factor/max"] > 1


CHECKS = {
    "hdpo": check_hdpo,
    "naar": check_naar,
    "dtpo": check_dtpo,
    "pepo": check_pepo,
    "gdpo": check_gdpo,
    "vppo": check_vppo,
    "srpo": check_srpo,
    "papo": check_papo,
    "pgpo": check_pgpo,
}
