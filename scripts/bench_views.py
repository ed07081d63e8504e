# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""What a further pass under each changed view costs beside a plain log-prob pass, on one CPU thread or on a GPU.

    python scripts/bench_views.py [--pairs 15] [--device cpu] [--shape SHAPE] [--rows 4] [--side 8]

verl's own forward step of a log-prob pass runs over the third model and batch of ``bench_focus.py``: rows of an image
of ``side`` x ``side`` tokens and an answer of 96 tokens, random weights, padded. A pair is one pass with the view
requested and one without, in either order. *Extra* is (with - without) / without, in units of a plain pass; its target
is 1.05. *Change alone* is the time of everything that a view does beside its forward pass: the changed pixels of all
rows, or the tokens left out and the positions of the others, and the log-probs put back in their places. It is measured
with the log-probs of an earlier pass in place of the pass. Peak memory is the most that a pass holds beside the
parameters.

The views are those of the methods' defaults and the others that their settings offer. Squares, blur and noise change
every pixel of the rows, so that the vision tower runs again: in rows that are mostly image, a plain pass is mostly the
tower and the image tokens, and all of this is paid a second time. Hidden images leave the image tokens and the tower
out, and cost less the larger the images are. Hidden text leaves a quarter of the answer out, and keeps the images.

All times are medians of the thread's CPU time, or on a GPU between two CUDA events; on a GPU the model is in bfloat16.
``--shape 3b`` and ``7b`` give the model the widths of Qwen2.5-VL and 4 of its layers and of its vision tower's. The
change alone is made once a pass, so that it weighs more there than in all layers.
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

import torch
from bench_focus import (
    ANSWER,
    IMAGE_TOKEN,
    ROWS,
    SIDE,
    bench_engine,
    micro_batch,
    paired_seconds,
    peak_bytes,
    seconds,
    shape_of,
)
from released_shapes import SHAPES
from tensordict import TensorDict
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD
from verl.utils import tensordict_utils as tu

from verl_mapo.columns import CHANGED_LOG_PROBS, PERCEPTION, UNSEEN_LOG_PROBS
from verl_mapo.training.method_engine import MethodEngine
from verl_mapo.views.passes import VIEWS, viewed_log_probs
from verl_mapo.views.pixels import PatchLayout, ViewSettings

CHANGES = {
    "squares (vppo, papo, srpo)": ViewSettings("squares"),
    "blur": ViewSettings("blur"),
    "noise": ViewSettings("noise"),
    "hidden images (pgpo)": ViewSettings("hidden"),
}
"""Each kind of changed images, with the methods that have it by default."""
HIDDEN_TEXT = "hidden text (srpo)"
HIDDEN = slice(8, 8 + ANSWER // 4)
"""The tokens of an answer that are hidden text."""


HIDDEN_REQUEST = {UNSEEN_LOG_PROBS.name: {"hidden": PERCEPTION.name}}


def image_request(engine: MethodEngine, view: ViewSettings) -> dict[str, Any]:
    """The request for the log-probs under changed images."""
    tower = engine.module.config.vision_config
    layout = PatchLayout(
        tower.patch_size,
        tower.spatial_merge_size,
        tower.temporal_patch_size,
        tuple(OPENAI_CLIP_MEAN),
        tuple(OPENAI_CLIP_STD),
    )
    return {CHANGED_LOG_PROBS.name: {"view": vars(view), "layout": layout, "visual_token_ids": [IMAGE_TOKEN]}}


def requests_of(engine: MethodEngine) -> dict[str, dict[str, Any]]:
    """The request for each view, by its name in the table."""
    return {name: image_request(engine, view) for name, view in CHANGES.items()} | {HIDDEN_TEXT: HIDDEN_REQUEST}


def batch_with(engine: MethodEngine, device: str, rows: int, side: int = SIDE) -> TensorDict:
    """The micro-batch, with the column of the hidden text."""
    batch = micro_batch(engine, device, rows, side)
    hidden = torch.zeros(ANSWER, dtype=torch.int64)
    hidden[HIDDEN] = 1
    batch[PERCEPTION.name] = tu.nested_tensor_from_tensor_list([hidden] * rows)
    return batch


def seconds_of_change(
    engine: MethodEngine, batch: TensorDict, request: dict[str, Any], repeats: int, device: str
) -> float:
    """Median seconds of a view without its forward pass."""
    passes: list[Any] = []

    def step(part: TensorDict) -> Any:
        passes.append(engine.forward_step(part, None, forward_only=True))
        return passes[-1]

    (view,) = request.values()
    viewed_log_probs(batch, view, step, device)
    return seconds(lambda: viewed_log_probs(batch, view, lambda _: passes[0], device), repeats, device)


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--shape", choices=SHAPES)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--side", type=int, default=SIDE)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    engine = bench_engine(shape_of(asked.shape), asked.device)
    plain = batch_with(engine, asked.device, asked.rows, asked.side)
    plain_call = partial(engine.forward_step, plain, None, forward_only=True)
    plain_call()  # the first pass of a process is slower
    plain_peak = peak_bytes(plain_call, asked.device)
    print(f"{asked.rows} rows of {asked.side**2} image and {ANSWER} answer tokens, {asked.pairs} pairs\n")
    print("| view | plain ms | with view ms | extra | change alone ms | of plain | peak MB, plain | with view |")
    print("|---|---|---|---|---|---|---|---|")
    for name, request in requests_of(engine).items():
        viewed = batch_with(engine, asked.device, asked.rows, asked.side)
        tu.assign_non_tensor(viewed, **{VIEWS: request})
        call = partial(engine.forward_step, viewed, None, forward_only=True)
        without, with_view = paired_seconds([plain_call, call], asked.pairs, asked.device)
        change = seconds_of_change(engine, plain, request, asked.pairs, asked.device)
        peak = peak_bytes(call, asked.device)
        print(
            f"| {name} | {without * 1e3:.1f} | {with_view * 1e3:.1f} | {with_view / without - 1:.3f} | "
            f"{change * 1e3:.2f} | {change / without:.3f} | {plain_peak / 1e6:.2f} | {peak / 1e6:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
