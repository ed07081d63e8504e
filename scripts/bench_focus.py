# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""What the visual focus score and the factors made of it cost, on one CPU thread or on a GPU.

    python scripts/bench_focus.py [--repeats 7] [--pairs 25] [--device cpu] [--shape SHAPE]

First table: the scores of one batch of 7B shapes, 64 sequences of 400 image and 400 response tokens, 3584 floats a
state. Beside it the released code's scheme: a cosine and an ``.item()`` for every response position, padding included,
in two passes of which the first is thrown away. Here it makes one, over responses of 400 tokens without any padding and
as padded to 2048 (the paper's response length); a row says what two would be. It is given float32 states and means for
nothing, and none of its other costs is counted. The share of bandwidth is of the rate, read and written together, of
one large copy in the same run.

Second table: the factors of a step of 4096 x 4096, and the metrics of them, beside verl's vectorised GRPO on the same
step, uid strings in.

Third table: verl's own forward step of a log-prob pass over a Qwen2.5-VL of 8 layers and random weights, with the
request for scores and without. A pair is one pass of each, in either order; peak memory is the parameters and the most
that a pass holds beside them.

All times are medians of the thread's CPU time, which other work on the machine does not lengthen much.

``--device cuda`` measures the first and the third table on a GPU, with CUDA events and torch's peak; the model is then
in bfloat16. ``--shape 3b`` and ``7b`` give both the widths of Qwen2.5-VL, and the model of the third one 4 of its
layers and of its vision tower's; the second table, of the driver's CPU, is then left out.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from bench_advantages import BASELINE, GROUPS, MEMBERS, make_step, measure, stock_call
from released_shapes import SHAPES, config_of
from tensordict import NonTensorStack, TensorDict
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
from verl.trainer.ppo.core_algos import compute_grpo_vectorized_outcome_advantage
from verl.utils import tensordict_utils as tu
from verl.workers.engine.fsdp import transformer_impl

from verl_mapo.advantages.focus import focus_scores, image_sums, plan_focus
from verl_mapo.advantages.groups import group_ids
from verl_mapo.advantages.visual_credit import VisualCreditSettings, apply_credit, visual_factors
from verl_mapo.training.method_engine import FOCUS, MethodEngine
from verl_mapo.training.visual_credit import credit_metrics, focus_request

SEQUENCES, IMAGE, RESPONSE, PADDED, DIM = 64, 400, 400, 2048, 3584
KEPT_LAYERS = 4
"""Layers of a released shape in the third table."""
IMAGE_TOKEN, TEXT_TOKEN = 1, 0
LENGTH = 4096

ROWS, SIDE, ANSWER, WIDTH, LAYERS, VOCABULARY = 4, 8, 96, 512, 8, 16384
"""The third table's batch and model; an image is SIDE x SIDE tokens."""


def timed(call: Callable[[], Any], device: str) -> tuple[float, Any]:
    """Seconds of a call, of the thread's CPU time or on the GPU between two events, and what it returns."""
    if device == "cpu":
        start = time.thread_time()
        result = call()
        return time.thread_time() - start, result
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    result = call()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1e3, result


def seconds(call: Callable[[], Any], repeats: int, device: str) -> float:
    """Median seconds of a call, after one to warm up."""
    return statistics.median([timed(call, device)[0] for _ in range(repeats + 1)][1:])


def paired_seconds(calls: Sequence[Callable[[], Any]], pairs: int, device: str) -> list[float]:
    """Median seconds of each of two calls, made in pairs, in either order, after a pair to warm up."""
    times: list[list[float]] = [[], []]
    for pair in range(pairs + 1):
        for side in (0, 1) if pair % 2 else (1, 0):
            times[side].append(timed(calls[side], device)[0])
    return [statistics.median(side[1:]) for side in times]


def bandwidth(repeats: int, device: str) -> float:
    """Bytes a second, read and written, of a copy of half a GiB."""
    source = torch.ones(2**27, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / seconds(lambda: target.copy_(source), repeats, device)


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


def bench_focus(repeats: int, device: str, dim: int) -> None:
    """Print the first table, for states of ``dim`` floats."""
    rate, batch = bandwidth(repeats, device), packed_batch()
    hidden = torch.randn(SEQUENCES * (IMAGE + RESPONSE), dim, generator=torch.Generator().manual_seed(0)) + 0.1
    hidden = hidden.to(device)
    print(f"copy: {rate / 1e9:.2f} GB/s, read and written\n")
    print("| states | ms | GB/s read | of the copy's | against one by one, 400 | 2048 | 2048, two passes | apart |")
    print("|---|---|---|---|---|---|---|---|")
    for dtype in (torch.float32, torch.bfloat16):
        states = hidden.to(dtype)
        ours = seconds(lambda states=states: focus(states, batch), repeats, device)
        split = states.float().view(SEQUENCES, IMAGE + RESPONSE, dim)
        means, responses = split[:, :IMAGE].mean(dim=1), split[:, IMAGE:]
        bare, slow = timed(partial(one_by_one, responses, means), device)
        padding = torch.zeros(SEQUENCES, PADDED - RESPONSE, dim, device=device)
        padded = bare + timed(partial(one_by_one, padding, means), device)[0]
        scores = focus(states, batch).view(SEQUENCES, -1)[:, IMAGE:].cpu()
        apart = (scores - torch.tensor(slow)).abs().max().item()
        read = states.nbytes / ours
        print(
            f"| {str(dtype).removeprefix('torch.')} | {ours * 1e3:.1f} | {read / 1e9:.2f} | {read / rate:.2f} | "
            f"{bare / ours:.0f} x | {padded / ours:.0f} x | {2 * padded / ours:.0f} x | {apart:.1e} |",
            flush=True,
        )


def bench_factors(repeats: int) -> None:
    """Print the second table."""
    step, config = make_step(LENGTH), VisualCreditSettings()
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
    made = factors()
    calls["credit_metrics"] = lambda: credit_metrics(score, mask, made, config)
    medians = measure(calls, repeats)
    print(f"\ncredit_metrics / visual_factors: {medians['credit_metrics'] / medians['visual_factors']:.2f}")
    print(f"\n| rows x tokens | what | median ms | ratio to {BASELINE} |\n|---|---|---|---|")
    for name, median in medians.items():
        ratio = median / medians[BASELINE]
        print(f"| {GROUPS * MEMBERS} x {LENGTH} | {name} | {median * 1e3:.1f} | {ratio:.2f} |")


def narrow_config() -> Qwen2_5_VLConfig:
    """A model that a CPU thread passes in less than a second."""
    shape = {"hidden_size": WIDTH, "intermediate_size": 4 * WIDTH}
    text = shape | {
        "vocab_size": VOCABULARY,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": WIDTH // 64,
        "num_key_value_heads": WIDTH // 128,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [8, 12, 12]},
    }
    tower = shape | {"depth": 2, "num_heads": WIDTH // 64, "out_hidden_size": WIDTH}
    return Qwen2_5_VLConfig(text_config=text, vision_config=tower, image_token_id=IMAGE_TOKEN)


def bench_engine(config: Qwen2_5_VLConfig, device: str) -> MethodEngine:
    """verl's engine around a model with random weights, in the parts that a forward pass touches."""
    torch.manual_seed(0)
    transformer_impl.get_device_id = transformer_impl.get_device_name = lambda: device
    engine = MethodEngine.__new__(MethodEngine)
    engine._autocast_dtype = torch.float32 if device == "cpu" else torch.bfloat16
    with torch.device(device):
        engine.module = Qwen2_5_VLForConditionalGeneration(config).eval().to(engine._autocast_dtype)
    engine.pad_to_length = engine.use_ulysses_sp = False
    engine.engine_config = SimpleNamespace(entropy_checkpointing=False, entropy_from_logits_with_chunking=False)
    return engine


def micro_batch(engine: MethodEngine, device: str, rows: int = ROWS, side: int = SIDE) -> TensorDict:
    """Rows of an image of side x side tokens and an answer, as verl's worker lays them out."""
    image, tower = side**2, engine.module.config.vision_config
    ids = torch.tensor([IMAGE_TOKEN] * image + [TEXT_TOKEN] * ANSWER)
    patches = torch.randn(image * 4, 3 * tower.temporal_patch_size * tower.patch_size**2)
    pixels = {"pixel_values": patches, "image_grid_thw": torch.tensor([[1, 2 * side, 2 * side]])}
    pixels = {name: value.to(device) for name, value in pixels.items()}
    columns = {
        "input_ids": ids,
        "position_ids": torch.arange(len(ids)).expand(4, -1),
        "response_mask": torch.ones(ANSWER, dtype=torch.int64),
    }
    nested = {name: tu.nested_tensor_from_tensor_list([value] * rows) for name, value in columns.items()}
    batch = TensorDict({**nested, "multi_modal_inputs": NonTensorStack(*[pixels] * rows)}, batch_size=rows)
    tu.assign_non_tensor(batch, temperature=1.0, use_remove_padding=False, calculate_entropy=False)
    return batch


def peak_bytes(call: Callable[[], Any], device: str) -> int:
    """The most that a call has allocated at any moment, beside what was there before."""
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        return torch.cuda.max_memory_allocated() - before
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True, acc_events=True
    ) as profile:
        call()
    held = peak = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak


@torch.no_grad()
def bench_pass(pairs: int, device: str, config: Qwen2_5_VLConfig) -> None:
    """Print the third table."""
    engine = bench_engine(config, device)
    plain, asked = micro_batch(engine, device), micro_batch(engine, device)
    tu.assign_non_tensor(asked, **{FOCUS: focus_request([IMAGE_TOKEN], VisualCreditSettings())})
    calls = [partial(engine.forward_step, batch, None, forward_only=True) for batch in (plain, asked)]
    medians = paired_seconds(calls, pairs, device)
    parameters = sum(weight.nbytes for weight in engine.module.parameters())
    peaks = [parameters + peak_bytes(call, device) for call in calls]
    print(f"\n| log-prob pass, {pairs} pairs | median ms | ratio | peak MB | ratio |\n|---|---|---|---|---|")
    for name, median, peak in zip(("plain", "with focus"), medians, peaks, strict=True):
        ratio, more = median / medians[0], peak / peaks[0]
        print(f"| {name} | {median * 1e3:.1f} | {ratio:.4f} | {peak / 1e6:.2f} | {more:.4f} |")


def shape_of(name: str | None) -> Qwen2_5_VLConfig:
    """The first layers of a released shape; without a name, the narrow model."""
    return config_of(name, KEPT_LAYERS, image_token_id=IMAGE_TOKEN) if name else narrow_config()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--pairs", type=int, default=25)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--shape", choices=SHAPES)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    config = shape_of(asked.shape)
    bench_focus(asked.repeats, asked.device, config.text_config.hidden_size if asked.shape else DIM)
    if not asked.shape:
        bench_factors(asked.repeats)
    bench_pass(asked.pairs, asked.device, config)


if __name__ == "__main__":
    main()
