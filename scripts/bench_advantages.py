# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""How long the advantages take beside verl's two GRPO estimators, on one CPU thread.

    python scripts/bench_advantages.py [--repeats 15]

Each estimator starts from what a trainer holds: token-level rewards, the response mask and numpy's object array of uid
strings; MAPO has the turn columns on top, AXPO the row columns of a step with a fifth of continuations. Every repeat
runs all of them, in a new order; the table holds medians of the thread's CPU time, which other work on the machine does
not lengthen much.
"""

from __future__ import annotations

import argparse
import itertools
import random
import statistics
import time
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from verl.trainer.ppo.core_algos import compute_grpo_outcome_advantage, compute_grpo_vectorized_outcome_advantage

from verl_mapo.advantages.axpo import (
    AxpoSettings,
    axpo_advantage,
    axpo_groups,
    grpo_base,
    loss_masks,
    recovered_prefixes,
)
from verl_mapo.advantages.groups import group_ids, grpo_advantage
from verl_mapo.advantages.mapo import MapoSettings, mapo_advantage
from verl_mapo.columns import ABSENT, CONTINUATION, PLAIN, SCORED, SOURCE
from verl_mapo.relatives.dtpo import DtpoSettings, FirstTurns, dtpo_advantage
from verl_mapo.relatives.gdpo import GdpoSettings, gdpo_advantage
from verl_mapo.relatives.hdpo import HdpoSettings, hdpo_advantage
from verl_mapo.relatives.naar import NaarSettings, naar_advantage
from verl_mapo.relatives.pepo import pepo_factor

GROUPS, MEMBERS, TURNS = 512, 8, 6
QUESTIONS, PREFIXES = 410, 204
"""Of an AXPO step with as many rows: 410 questions of 8 rollouts pay for 204 prefixes of 4 resamples."""

BASELINE = "verl grpo_vectorized"


def make_step(length: int, seed: int = 0) -> dict[str, Any]:
    """A step of GROUPS x MEMBERS rollouts of up to ``length`` tokens, in any order; half of a turn is observation."""
    generator = torch.Generator().manual_seed(seed)
    rows, piece = GROUPS * MEMBERS, length // (TURNS + 1)
    turns = torch.randint(0, TURNS + 1, (rows,), generator=generator)
    turn, position = torch.arange(TURNS), torch.arange(length)
    present = turn < turns.unsqueeze(1)
    end = ((turns + 1) * piece).unsqueeze(1)
    observation = (position % piece >= piece // 2) & (position < end - piece)
    uids = [str(uuid.uuid4()) for _ in range(GROUPS)] * MEMBERS
    rewards = torch.zeros(rows, length)
    rewards[torch.arange(rows), end.squeeze(1) - 1] = torch.randint(0, 2, (rows,), generator=generator).float()
    start = turn * piece
    spans = torch.stack([start, start + piece // 2], dim=-1).expand(rows, -1, -1)
    return {
        "token_level_rewards": rewards,
        "response_mask": ((position < end) & ~observation).long(),
        "index": np.array(uids, dtype=object)[torch.randperm(rows, generator=generator).numpy()],
        "turn_scores": 0.15 + 0.2 * torch.rand(rows, TURNS, generator=generator),
        "turn_status": torch.where(present, SCORED, ABSENT).to(torch.int8),
        "turn_spans": torch.where(present[..., None], spans, -1),
    }


def make_axpo_step(length: int, seed: int = 0) -> dict[str, Any]:
    """The rows of :func:`make_step` as QUESTIONS x MEMBERS originals and resamples, which begin with given tokens."""
    step, config = make_step(length, seed), AxpoSettings()
    rows, originals = GROUPS * MEMBERS, QUESTIONS * MEMBERS
    row = torch.randperm(rows, generator=torch.Generator().manual_seed(seed))
    is_original, is_source = row < originals, row < PREFIXES
    question = torch.where(is_original, row % QUESTIONS, (row - originals) // config.continuations)
    role = torch.where(is_original, PLAIN, CONTINUATION).masked_fill(is_source, SOURCE).to(torch.int8)
    prefix_length = torch.where(role == PLAIN, 0, length // (TURNS + 1) // 2)
    step["response_mask"] *= (role != CONTINUATION).unsqueeze(1) | (torch.arange(length) >= prefix_length.unsqueeze(1))
    uids = np.array([str(uuid.uuid4()) for _ in range(QUESTIONS)], dtype=object)
    prefix_id = torch.where(role == PLAIN, -1, 0)
    columns = {"role": role, "prefix_length": prefix_length, "prefix_id": prefix_id}
    return {**step, **columns, "index": uids[question.numpy()]}


def stock_call(step: dict[str, Any], estimator: Callable[..., tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    """Advantages of a step by one of verl's estimators."""
    return estimator(**{name: step[name] for name in ("token_level_rewards", "response_mask", "index")})[0]


def estimators(step: dict[str, Any]) -> dict[str, Callable[[], torch.Tensor]]:
    """Name of each estimator, and the call that makes its advantages."""
    columns = {name: step[name] for name in ("turn_scores", "turn_status", "turn_spans", "response_mask")}

    def mapo(config: MapoSettings) -> torch.Tensor:
        outcome, group = step["token_level_rewards"].sum(dim=-1), group_ids(step["index"])
        return mapo_advantage(outcome=outcome, group=group, settings=config, **columns).advantages

    return {
        BASELINE: lambda: stock_call(step, compute_grpo_vectorized_outcome_advantage),
        "verl grpo (looped)": lambda: stock_call(step, compute_grpo_outcome_advantage),
        "mapo": lambda: mapo(MapoSettings()),
        "mapo, reward_sum": lambda: mapo(MapoSettings(coupling="reward_sum", no_tool="group_mean")),
        "mapo, credit by turn": lambda: mapo(MapoSettings(credit="turn")),
        **relatives(step),
    }


def relatives(step: dict[str, Any]) -> dict[str, Callable[[], torch.Tensor]]:
    """The same for the methods of one file each."""
    status, mask = step["turn_status"], step["response_mask"]
    calls, score = (status == SCORED).sum(dim=1), step["turn_scores"][:, 0].double()
    turns = FirstTurns(score, torch.full_like(score, 0.1), step["turn_spans"][:, 0, 1], mask.shape[1] // 2 + 0 * calls)
    random = torch.Generator().manual_seed(1)
    cosine, entropy = (torch.rand(mask.shape, generator=random) for _ in range(2))

    def of(function: Callable[..., Any], *more: Any) -> torch.Tensor:
        outcome, group = step["token_level_rewards"].sum(dim=-1), group_ids(step["index"])
        return function(outcome, calls, *more[:-1], mask, group, more[-1]).advantages

    def pepo() -> torch.Tensor:
        outcome, group = step["token_level_rewards"].sum(dim=-1), group_ids(step["index"])
        factor = pepo_factor(cosine, entropy, mask != 0, 0.5)
        return grpo_advantage(outcome, mask, group).mul_(factor)

    def gdpo() -> torch.Tensor:
        outcome, group = step["token_level_rewards"].sum(dim=-1), group_ids(step["index"])
        terms = {"outcome": outcome.double(), "format": (calls < TURNS).double(), "alignment": score}
        return gdpo_advantage(terms, mask, group, GdpoSettings()).advantages

    return {
        "hdpo": lambda: of(hdpo_advantage, HdpoSettings()),
        "naar": lambda: of(naar_advantage, NaarSettings()),
        "dtpo": lambda: of(dtpo_advantage, turns, DtpoSettings()),
        "pepo": pepo,
        "gdpo": gdpo,
    }


def axpo_estimators(step: dict[str, Any]) -> dict[str, Callable[[], torch.Tensor]]:
    """As :func:`estimators`, for a step with resamples; "and masks": beginning with what the loss acts on."""
    config, mask, role = AxpoSettings(), step["response_mask"], step["role"]
    prefix_length, prefix_id = step["prefix_length"], step["prefix_id"]

    def masks(outcome: torch.Tensor, group: torch.Tensor) -> torch.Tensor:
        recovered = recovered_prefixes(outcome, mask, group, role, prefix_id)
        return loss_masks(mask, recovered, role, prefix_length, config)[0]

    def axpo(make_mask: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> torch.Tensor:
        outcome, group = step["token_level_rewards"].sum(dim=-1), group_ids(step["index"])
        acted_on = make_mask(outcome, group)
        base = grpo_base(outcome, acted_on, axpo_groups(group, role, prefix_id, config), config)
        columns = {"role": role, "prefix_length": prefix_length, "prefix_id": prefix_id}
        return axpo_advantage(outcome, base, acted_on, group, **columns, settings=config).advantages

    ready = masks(step["token_level_rewards"].sum(dim=-1), group_ids(step["index"]))
    return {
        BASELINE: lambda: stock_call(step, compute_grpo_vectorized_outcome_advantage),
        "axpo": lambda: axpo(lambda *_: ready),
        "axpo and masks": lambda: axpo(masks),
    }


STEPS = {"": (make_step, estimators), ", a fifth resamples": (make_axpo_step, axpo_estimators)}
"""What makes a step, and the calls that make its advantages."""


def measure(calls: dict[str, Callable[[], torch.Tensor]], repeats: int) -> dict[str, float]:
    """Median CPU seconds of each call; one round of warming up, then interleaved repeats."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    order = random.Random(0)
    for _ in range(repeats + 1):
        for name in order.sample(list(calls), len(calls)):
            start = time.thread_time()
            calls[name]()
            seconds[name].append(time.thread_time() - start)
    return {name: statistics.median(times[1:]) for name, times in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    print(f"| rows x tokens | estimator | median ms | ratio to {BASELINE} |\n|---|---|---|---|")
    for length, (label, (make, calls)) in itertools.product((4096, 64), STEPS.items()):
        medians = measure(calls(make(length)), repeats)
        for name, seconds in medians.items():
            ratio = seconds / medians[BASELINE]
            print(f"| {GROUPS * MEMBERS} x {length}{label} | {name} | {seconds * 1e3:.2f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
