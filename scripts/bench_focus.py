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
"""What the visual focus score and the factors made of it cost, on one CPU thread.

    python scripts/bench_focus.py [--repeats 7]

First table: the scores of one batch of 7B shapes, 64 sequences of 400 image and 400 response tokens, 3584 floats a
state. Beside it the released code's scheme: a cosine and an ``.item()`` for every response position, padding included,
in two passes of which the first is thrown away. Here it makes one, over responses of 400 tokens without any padding and
as padded to 2048 (the paper's response length); a row says what two would be. It is given float32 states and means for
nothing, and none of its other costs is counted. The share of bandwidth is of the rate, read and written together, of
one large copy in the same run.

Second table: the factors of a step of 4096 x 4096 beside verl's vectorised GRPO on the same step, uid strings in.

All times are medians of the thread's CPU time, which other work on the machine does not lengthen much.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from bench_advantages import BASELINE, GROUPS, MEMBERS, make_step, measure, stock_call
from verl.trainer.ppo.core_algos import compute_grpo_vectorized_outcome_advantage

from verl_mapo.advantages.focus import focus_scores, image_sums, plan_focus
from verl_mapo.advantages.groups import group_ids
from verl_mapo.advantages.visual_credit import VisualCreditConfig, apply_credit, visual_factors

SEQUENCES, IMAGE, RESPONSE, PADDED, DIM = 64, 400, 400, 2048, 3584
IMAGE_TOKEN, TEXT_TOKEN = 1, 0
LENGTH = 4096


def seconds(call: Callable[[], Any], repeats: int) -> float:
    """Median CPU seconds of a call, after one to warm up."""
    times = []
    for _ in range(repeats + 1):
        start = time.thread_time()
        call()
        times.append(time.thread_time() - start)
    return statistics.median(times[1:])


def bandwidth(repeats: int) -> float:
    """Bytes a second, read and written, of a copy of half a GiB."""
    source = torch.ones(2**27)
    target = torch.empty_like(source)
    return 2 * source.nbytes / seconds(lambda: target.copy_(source), repeats)


def packed_batch() -> dict[str, Any]:
    """Token ids and masks of the batch: each row its image, then its response."""
    response = (torch.arange(IMAGE + RESPONSE) >= IMAGE).repeat(SEQUENCES)
    return {
        "input_ids": torch.where(response, TEXT_TOKEN, IMAGE_TOKEN),
        "policy": response,
        "offsets": torch.arange(SEQUENCES + 1) * (IMAGE + RESPONSE),
        "visual_token_ids": [IMAGE_TOKEN],
    }


def focus(hidden: torch.Tensor, batch: dict[str, Any]) -> torch.Tensor:
    """(N,) the scores, from the token ids on."""
    plan = plan_focus(**batch)
    return focus_scores(hidden, image_sums(hidden, plan), plan)


def one_by_one(responses: torch.Tensor, means: torch.Tensor) -> list[list[float]]:
    """A cosine and an ``.item()`` for each of (sequences, positions, d) response states."""
    return [
        [(torch.cosine_similarity(state, mean, dim=0).item() + 1) / 2 for state in row]
        for row, mean in zip(responses, means, strict=True)
    ]


def bench_focus(repeats: int) -> None:
    """Print the first table."""
    rate, batch = bandwidth(repeats), packed_batch()
    hidden = torch.randn(SEQUENCES * (IMAGE + RESPONSE), DIM, generator=torch.Generator().manual_seed(0)) + 0.1
    print(f"copy: {rate / 1e9:.2f} GB/s, read and written\n")
    print("| states | ms | GB/s read | of the copy's | against one by one, 400 | 2048 | 2048, two passes | apart |")
    print("|---|---|---|---|---|---|---|---|")
    for dtype in (torch.float32, torch.bfloat16):
        states = hidden.to(dtype)
        ours = seconds(lambda states=states: focus(states, batch), repeats)
        split = states.float().view(SEQUENCES, IMAGE + RESPONSE, DIM)
        means, responses = split[:, :IMAGE].mean(dim=1), split[:, IMAGE:]
        start = time.thread_time()
        slow = one_by_one(responses, means)
        bare = time.thread_time() - start
        padding = torch.zeros(SEQUENCES, PADDED - RESPONSE, DIM)
        start = time.thread_time()
        one_by_one(padding, means)
        padded = bare + time.thread_time() - start
        scores = focus(states, batch).view(SEQUENCES, -1)[:, IMAGE:]
        apart = (scores - torch.tensor(slow)).abs().max().item()
        read = states.nbytes / ours
        print(
            f"| {str(dtype).removeprefix('torch.')} | {ours * 1e3:.1f} | {read / 1e9:.2f} | {read / rate:.2f} | "
            f"{bare / ours:.0f} x | {padded / ours:.0f} x | {2 * padded / ours:.0f} x | {apart:.1e} |",
            flush=True,
        )


def bench_factors(repeats: int) -> None:
    """Print the second table."""
    step, config = make_step(LENGTH), VisualCreditConfig()
    mask = step["response_mask"]
    score = 0.5 + 0.2 * torch.rand(mask.shape, generator=torch.Generator().manual_seed(0))
    valid = mask != 0
    base = stock_call(step, compute_grpo_vectorized_outcome_advantage)

    def factors() -> Any:
        return visual_factors(score, valid, mask, group_ids(step["index"]), config)

    calls = {
        BASELINE: lambda: stock_call(step, compute_grpo_vectorized_outcome_advantage),
        "visual_factors": factors,
        "visual_factors, apply_credit": lambda: apply_credit(base, factors(), config),
    }
    medians = measure(calls, repeats)
    print(f"\n| rows x tokens | what | median ms | ratio to {BASELINE} |\n|---|---|---|---|")
    for name, median in medians.items():
        ratio = median / medians[BASELINE]
        print(f"| {GROUPS * MEMBERS} x {LENGTH} | {name} | {median * 1e3:.1f} | {ratio:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    bench_focus(repeats)
    bench_factors(repeats)


if __name__ == "__main__":
    main()
