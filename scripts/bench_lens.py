# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""What the gradients of single rollouts cost in one log-prob pass, beside a backward pass for each rollout.

    python scripts/bench_lens.py [--rows 16] [--repeats 5] [--model FOLDER] [--device cpu] [--shape SHAPE]

A row is an image of 64 tokens and an answer of 96. The model has the shape of the toy that ships with the package, or
that of FOLDER, or with ``--shape 3b`` or ``7b`` the widths of Qwen2.5-VL and 4 of its layers, with random weights; its
decoder's linear layers are measured. Compared are verl's own log-prob pass, the same pass with sketches, the same with
those of VGPO's token weights and their placebo beside them, the same with all token weights that there are, whose views
take four further passes, and the scheme that needs no hooks: a pass and a backward pass for each row, whose weights'
gradients are then sketched. The last line is the largest difference between the plain sketches of the two schemes,
divided by the largest value.

All times are medians: of the CPU time of one thread, or with ``--device cuda`` between CUDA events, in bfloat16.
"""

from __future__ import annotations

import argparse
import os
from functools import partial
from pathlib import Path
from typing import Any

import torch
from bench_focus import IMAGE_TOKEN, bench_engine, micro_batch, seconds, shape_of
from bench_views import HIDDEN_REQUEST, batch_with, image_request
from released_shapes import SHAPES
from tensordict import TensorDict
from transformers import Qwen2_5_VLConfig
from verl.utils import tensordict_utils as tu

import verl_mapo.toy
from verl_mapo import names
from verl_mapo.advantages.visual_credit import VisualCreditSettings
from verl_mapo.columns import VISUAL_FOCUS
from verl_mapo.lens.passes import SKETCH
from verl_mapo.lens.sketch import CountSketch
from verl_mapo.packed_rows import policy_tokens
from verl_mapo.training.method_engine import MethodEngine
from verl_mapo.training.visual_credit import focus_request
from verl_mapo.views.passes import VIEWS
from verl_mapo.views.pixels import ViewSettings

TOY = Path(verl_mapo.toy.__file__).parent / "models" / "qwen2_5_vl-full"
VGPO = {VISUAL_FOCUS.name: focus_request([IMAGE_TOKEN], VisualCreditSettings())}
REQUEST = {"size": 16384, "seed": 0, "layers": None, "weights": {}}


def every_weighting(engine: MethodEngine) -> dict[str, dict[str, Any]]:
    """The requests of all methods of :data:`verl_mapo.names.WEIGHING`."""
    layers = engine.module.config.get_text_config().num_hidden_layers
    focus = VGPO[VISUAL_FOCUS.name] | {"layers": list(range(layers)), "similarity": "every_state"}
    masked = image_request(engine, ViewSettings())
    views = {
        names.VPPO: masked,
        names.SRPO: masked | HIDDEN_REQUEST,
        names.PAPO: image_request(engine, ViewSettings(share=0.6)),
        names.PGPO: image_request(engine, ViewSettings(change="hidden")),
    }
    columns = {name: {VIEWS: each} for name, each in views.items()}
    return {names.VGPO: VGPO, names.PEPO: {VISUAL_FOCUS.name: focus}} | columns


def one_by_one(engine: MethodEngine, row: TensorDict, rows: int, sketch: CountSketch) -> torch.Tensor:
    """(rows, M) sketches, from a forward and a backward pass for each row."""
    device = engine.module.device
    found = torch.zeros(rows, sketch.size, device=device)
    layers = {
        f"{number}.{name}": layer
        for number, block in enumerate(engine.module.get_decoder().layers)
        for name, layer in block.named_modules()
        if isinstance(layer, torch.nn.Linear)
    }
    policy = policy_tokens(row["response_mask"], row["input_ids"].offsets()).to(device)

    def backward(*, model_output: dict[str, torch.Tensor], **_: Any) -> tuple[torch.Tensor, dict]:
        model_output["log_probs"].values()[policy.roll(-1)].sum().backward()
        return torch.ones((), device=device), {}

    for number in range(rows):
        engine.module.zero_grad()
        with torch.enable_grad():
            engine.forward_step(row, backward, forward_only=True)
        for name, layer in layers.items():
            sketch.add(found[number : number + 1], name, layer.weight.grad.float().reshape(1, -1))
    engine.module.zero_grad()
    return found


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--model", type=Path, default=TOY)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--shape", choices=SHAPES)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # the pass with sketches uses all cores that a process has
    config = shape_of(asked.shape) if asked.shape else Qwen2_5_VLConfig.from_pretrained(asked.model)
    config.image_token_id = config.text_config.image_token_id = IMAGE_TOKEN
    engine = bench_engine(config, asked.device)
    engine.get_data_parallel_group = lambda: None
    torch.manual_seed(1)
    plain = batch_with(engine, asked.device, asked.rows)
    torch.manual_seed(1)
    row = micro_batch(engine, asked.device, 1)
    with_sketches = plain.clone()
    tu.assign_non_tensor(with_sketches, **{SKETCH: REQUEST})
    with_weights = plain.clone()
    tu.assign_non_tensor(with_weights, **{SKETCH: REQUEST | {"weights": {names.VGPO: VGPO}}})
    with_all = plain.clone()
    tu.assign_non_tensor(with_all, calculate_entropy=True, **{SKETCH: REQUEST | {"weights": every_weighting(engine)}})
    sketch = CountSketch(REQUEST["size"], REQUEST["seed"])
    calls = {
        "log-prob pass": partial(engine.forward_step, plain, None, forward_only=True),
        "log-prob pass with sketches": partial(engine.forward_step, with_sketches, None, forward_only=True),
        "log-prob pass with sketches, also of vgpo": partial(
            engine.forward_step, with_weights, None, forward_only=True
        ),
        "log-prob pass with sketches, also of all token weights": partial(
            engine.forward_step, with_all, None, forward_only=True
        ),
        "a backward pass for each row": partial(one_by_one, engine, row, asked.rows, sketch),
    }
    times = {name: seconds(call, asked.repeats, asked.device) for name, call in calls.items()}
    ours = torch.stack(calls["log-prob pass with sketches"]()[1]["model_output"][SKETCH].unbind())
    apart = (ours - calls["a backward pass for each row"]()).abs().max() / ours.abs().max()
    measured = sum(weight.numel() for weight in engine.module.get_decoder().layers.parameters() if weight.ndim == 2)
    print(f"{asked.rows} rows on {asked.device}, {measured / 1e6:.2f} million measured parameters\n")
    print("| what | ms a row | ratio to sketches |\n|---|---|---|")
    for name, time in times.items():
        print(f"| {name} | {time * 1e3 / asked.rows:.2f} | {time / times['log-prob pass with sketches']:.2f} |")
    print(f"\nlargest difference of the sketches: {apart:.1e} of the largest value")


if __name__ == "__main__":
    main()
