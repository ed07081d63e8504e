# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""What must hold in any real run of a method, whatever was sampled."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from support.real_run import PROMPTS, metrics_of, rollouts_of
from verl_mapo.report.load import RunData
from verl_mapo.rollout.trajectory import Turn

N, K = 8, 4


def groups_of(run: Path, step: int) -> dict[str, dict[str, list[dict]]]:
    """The rollouts of a step by uid and role."""
    groups: dict = defaultdict(lambda: {"plain": [], "source": [], "resample": []})
    for rollout in rollouts_of(run, step):
        groups[rollout["uid"]][rollout["axpo"]["role"]].append(rollout)
    return groups


def check_groups(run: Path, step: int, credited: bool = False) -> None:
    """Trigger, prefixes, groups of K and tokens; and the advantages, unless visual credit multiplied them."""
    groups = groups_of(run, step).values()
    served = [rollout["axpo"]["cached_tokens"] > 0 for group in groups for rollout in group["resample"]]
    # a request that is the first after the cache was emptied, for new weights, is not served from it
    assert 2 * sum(served) >= len(served), "vLLM serves the prefixes from its cache"
    for group in groups:
        originals = group["plain"] + group["source"]
        assert len(originals) == N and {rollout["session"] for rollout in originals} == set(range(N))
        users = [
            rollout
            for rollout in originals
            if any(Turn.from_record(turn).called for turn in rollout["trajectory"]["turns"])
        ]
        if group["source"]:
            assert all(user["outcome"] < 1 for user in users), "triggered only where all tool users failed"
        by_source = defaultdict(list)
        for rollout in group["resample"]:
            by_source[rollout["axpo"]["prefix_id"]].append(rollout)
        assert set(by_source) == {rollout["session"] for rollout in group["source"]}
        for source in group["source"]:
            continuations = by_source[source["session"]]
            assert len(continuations) == K
            tag = source["trajectory"]["turns"][0]["text"].index("<tool_call>") + len("<tool_call>")
            prefix = source["trajectory"]["turns"][0]["text"][:tag]
            for rollout in continuations:
                assert rollout["trajectory"]["turns"][0]["text"].startswith(prefix)
                assert rollout["axpo"]["prefix_length"] == source["axpo"]["prefix_length"]
            recovered = any(rollout["outcome"] == 1 for rollout in continuations)
            assert source["axpo"]["recovered"] is recovered
            if credited:
                continue
            if recovered:
                assert source["advantage"] == pytest.approx(source["axpo"]["a_prefix"], abs=1e-5)
            assert abs(sum(rollout["advantage"] for rollout in continuations)) < 1e-4, "the K are their own group"


def check_weights_changed(run: Path, model: Path, step: int = 2) -> None:
    """The checkpoint of a step has other weights than the model from which the run started."""
    before = load_file(model / "model.safetensors")
    shard = torch.load(next(run.glob(f"checkpoints/global_step_{step}/actor/model_*.pt")), weights_only=False)
    name = next(name for name in before if name.endswith("q_proj.weight") and "visual" not in name)
    key = next(key for key in shard if key.endswith(name.split("language_model.")[-1].split("layers.")[-1]))
    after = shard[key].full_tensor() if hasattr(shard[key], "full_tensor") else shard[key]
    assert not torch.equal(after.float(), before[name].float())


def check_parts_of_advantages(rollouts: list[dict]) -> None:
    """Records of MAPO hold the parts of the advantage and the scores that the alignment aggregates."""
    looked = [rollout for rollout in rollouts if rollout["alignment"] is not None]
    assert looked, "most rollouts of the smoke model zoom"
    for rollout in looked:
        assert rollout["advantage"] == pytest.approx(rollout["a_out"] + 0.4 * rollout["a_sem"], abs=1e-5)
        turns = [turn for turn in rollout["trajectory"]["turns"] if turn["described"]]
        assert rollout["alignment"] == pytest.approx(
            sum(0.95**t * turn["score"] for t, turn in enumerate(turns)) / sum(0.95**t for t in range(len(turns))),
            abs=1e-5,
        )


def check_nothing_lost(run: Path, marked: int, validated: tuple[int, ...]) -> None:
    """A run would go on after the step ``marked``, and the metrics and rollouts of all steps up to it are there."""
    mark = run / "checkpoints" / "latest_checkpointed_iteration.txt"
    assert int(mark.read_text()) == marked
    metrics, report = metrics_of(run), RunData.open(run)
    for step in range(1, marked + 1):
        assert {"actor/grad_norm", "mapo/outcome/mean", "timing_s/step"} <= set(metrics[step])
        assert len(report.rollouts(step, "train")) == N * PROMPTS
        if step in validated:
            assert any(name.startswith("val-core/") for name in metrics[step]) and report.rollouts(step, "val")


def check_credit(metrics: dict[str, float], kappa: float = 0.2, gamma: float = 0.5) -> None:
    """Every rollout has a score, credit is moved and not made, and the gate passes what it should."""
    assert metrics["visual_credit/visual_rows"] > 0.9 and -1 <= metrics["visual_credit/cosine/mean"] <= 1
    assert metrics["visual_credit/token_factor/mean"] == pytest.approx(1, abs=1e-3)
    assert metrics["visual_credit/trajectory_factor/mean"] == pytest.approx(1, abs=1e-3)
    assert metrics["visual_credit/token_factor/min"] < 1 < metrics["visual_credit/token_factor/max"]
    assert metrics["visual_credit/gate_rate"] == pytest.approx(kappa * gamma, abs=0.05)
    assert metrics["actor/grad_norm"] > 0
