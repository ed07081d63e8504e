# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""What an agent-loop worker does on its event loop for a rollout, with verl's computation of features and with ours.

Scripted rollouts run through the code of verl's agent-loop worker: loop, reward call, row. Real are the processor, the
images (a photograph-like JPEG), Continuous Token and the encoding of rows for TransferQueue; scripted are the language
model, and the reward, which serialises what verl sends. ``before`` computes features as verl does: with every count of
tokens, for the reward and for the row, on the event loop, in float32. The time is CPU time of the event loop's thread;
what verl's client spends on serialising images for the engine is the same on both sides, and is listed by itself.
Each worker is a process of its own, and there are as many of them at a time as cores.

    python scripts/bench_features.py [--workers 1] [--prompts 4] [--family qwen2_5_vl]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

N = 8
CASES = {"typical": (2000, 1500, 2, 1280), "large": (2560, 1920, 5, 5120)}
"""Width and height of the original, number of crops, and most tokens of an image, by name."""

BOXES = [(40, 40, 640, 480), (0, 0, 400, 600), (300, 200, 800, 700), (100, 300, 500, 600), (200, 100, 700, 400)]
TOKEN_SIDE = {"qwen2_5_vl": 28, "qwen3_vl": 32}


class Engine:
    """Writes the turns of the script. The images of a request are serialised as Ray does."""

    def __init__(self, tokenizer: Any, crops: int):
        call = '<tool_call>\n{"name": "zoom", "arguments": {"label": "a red square", "bbox_2d": %s}}\n</tool_call>'
        texts = [*(f"<think>Closer.</think>\n{call % list(box)}" for box in BOXES[:crops]), "<answer>red</answer>"]
        self.turns = [tokenizer.encode(text) + [tokenizer.eos_token_id] for text in texts]
        self.seconds = 0.0

    async def generate(self, request_id: str, *, prompt_ids: list[int], image_data: list, **_: Any) -> Any:
        from verl.workers.rollout.replica import TokenOutput

        start = time.thread_time()
        pickle.dumps(image_data, protocol=5)
        self.seconds += time.thread_time() - start
        await asyncio.sleep(0)
        ids = self.turns[len(image_data) - 1]
        return TokenOutput(token_ids=ids, log_probs=[-0.5] * len(ids), extra_fields={"global_steps": 1})


class Reward:
    """A reward worker that gives 1 to everything."""

    def __init__(self) -> None:
        async def remote(data: Any) -> dict[str, Any]:
            pickle.dumps(data, protocol=5, buffer_callback=lambda _: None)
            return {"reward_score": 1.0, "reward_extra_info": {}}

        self.compute_score = SimpleNamespace(remote=remote)


class Steps:
    """The CPU time of every callback of an event loop, of which each one delays all others."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def __enter__(self) -> Steps:
        self.run = run = asyncio.events.Handle._run

        def timed(handle: asyncio.events.Handle) -> None:
            start = time.thread_time()
            run(handle)
            self.seconds.append(time.thread_time() - start)

        asyncio.events.Handle._run = timed
        return self

    def __exit__(self, *_: Any) -> None:
        asyncio.events.Handle._run = self.run


def as_before(kind: type) -> None:
    """Compute features where verl computes them.

    Args:
        kind: the class of the worker.
    """
    import torch
    from verl.experimental.agent_loop.agent_loop import AgentLoopWorker

    from verl_mapo.rollout import loop

    stock = AgentLoopWorker._compute_multi_modal_inputs.__wrapped__
    kind._compute_multi_modal_inputs = lambda worker, output, ids: stock(worker, output, ids[..., :0])
    kind._compute_position_ids = AgentLoopWorker._compute_position_ids.__wrapped__
    loop.without_pixels = lambda processor: processor
    loop.feature_dtype = lambda config: torch.float32
    loop.position_ids = lambda *_: None
    loop._FEATURES.of = lambda *_: {}


def worker_of(kind: type, config: Any, processor: Any, family: str, engine: Engine) -> Any:
    """verl's worker around an engine, in this process and without ray."""
    from verl.utils.dataset.rl_dataset import RLHFDataset

    worker = object.__new__(kind)
    worker.__dict__.update(
        config=config,
        tokenizer=processor.tokenizer,
        processor=processor,
        hf_model_type=family,
        dataset_cls=RLHFDataset,
        tools=[],
        llm_client=engine,
        reward_loop_worker_handles=[Reward()],
        mm_processor_kwargs={},
        distillation_enabled=False,
    )
    return worker


def measure(side: str, case: str, family: str, prompts: int, folder: Path) -> dict[str, float]:
    """Milliseconds and megabytes a rollout, in this process."""
    import torch
    import transfer_queue as tq
    from hydra import compose, initialize_config_module
    from tensordict import NonTensorStack
    from transfer_queue.utils.serial_utils import encode
    from verl.trainer.ppo.v1.agent_loop_tq import AgentLoopWorkerTQ
    from verl.utils import hf_processor

    from verl_mapo.toy.tiny_vlm import build_model, build_processor, save

    torch.set_num_threads(1)
    _, _, crops, tokens = CASES[case]
    pixels = TOKEN_SIDE[family] ** 2
    processor = build_processor(family)
    model = folder / f"{family}_{os.getpid()}"
    save(build_model(family, processor.tokenizer, seed=0), processor, model)
    processor = hf_processor(str(model))
    processor.image_processor.size = {"shortest_edge": 4 * pixels, "longest_edge": 16384 * pixels}
    overrides = [
        f"data.max_prompt_length={2 * tokens}",
        "data.max_response_length=40000",
        f"actor_rollout_ref.rollout.n={N}",
        f"visual_tool.max_image_pixels={tokens * pixels}",
        f"visual_tool.max_crop_pixels={tokens * pixels}",
        "reward.description_alignment.scorer.model=none/used",
    ]
    with initialize_config_module("verl_mapo.config", version_base=None):
        config = compose("run", overrides)
    kind = AgentLoopWorkerTQ.__ray_metadata__.modified_class
    if side == "before":
        as_before(kind)
    found = {"row_bytes": 0, "pixel_bytes": 0}

    async def put(keys: list[str], fields: Any, **_: Any) -> None:
        columns = {
            name: column.tolist() if isinstance(column, NonTensorStack) else column for name, column in fields.items()
        }
        found["row_bytes"] += sum(memoryview(part).nbytes for part in encode(columns))
        found["pixel_bytes"] += fields["multi_modal_inputs"][0]["pixel_values"].nbytes

    async def put_one(**_: Any) -> None: ...

    tq.async_kv_batch_put, tq.async_kv_put = put, put_one
    engine = Engine(processor.tokenizer, crops)
    worker = worker_of(kind, config, processor, family, engine)

    async def roll(paths: list[Path]) -> None:
        def one(number: int, path: Path) -> Any:
            content = [{"type": "image", "image": str(path)}, {"type": "text", "text": "Which colour is it?"}]
            row = {"raw_prompt": [{"role": "user", "content": content}], "uid": f"u{number}", "global_steps": 1}
            trajectory = {"step": 1, "sample_index": number, "rollout_n": 0, "validate": False}
            return worker._run_prompt({**row, "agent_name": "visual_tool_agent"}, {"temperature": 1.0}, trajectory)

        await asyncio.gather(*(one(number, path) for number, path in enumerate(paths)))

    asyncio.run(roll([folder / f"{case}_warm.jpg"]))
    engine.seconds, rollouts = 0.0, N * prompts
    found = dict.fromkeys(found, 0)
    with Steps() as steps:
        thread, process = time.thread_time(), time.process_time()
        asyncio.run(roll([folder / f"{case}_{number}.jpg" for number in range(prompts)]))
        thread, process = time.thread_time() - thread, time.process_time() - process
    assert found["row_bytes"] > 0
    return {
        "loop_ms": 1000 * (thread - engine.seconds) / rollouts,
        "engine_ms": 1000 * engine.seconds / rollouts,
        "longest_ms": 1000 * max(steps.seconds),
        "threads_ms": 1000 * (process - thread) / rollouts,
        "row_mb": found["row_bytes"] / rollouts / 1e6,
        "pixel_mb": found["pixel_bytes"] / rollouts / 1e6,
    }


def all_workers(workers: int, options: list[str]) -> dict[str, float]:
    """What the workers measure: their mean, and for the longest step of an event loop their maximum."""

    def one(_: int) -> dict[str, float]:
        command = [sys.executable, __file__, *options]
        return json.loads(subprocess.check_output(command, text=True).splitlines()[-1])

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(one, range(workers)))
    mean = {name: sum(worker[name] for worker in found) / workers for name in found[0]}
    return mean | {"longest_ms": max(worker["longest_ms"] for worker in found)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--prompts", type=int, default=4, help="prompts of a worker")
    parser.add_argument("--family", choices=sorted(TOKEN_SIDE), default="qwen2_5_vl")
    parser.add_argument("--cases", nargs="+", choices=sorted(CASES), default=list(CASES))
    parser.add_argument("--side", choices=["before", "after"])
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    if arguments.side:
        (case,) = arguments.cases
        print(json.dumps(measure(arguments.side, case, arguments.family, arguments.prompts, arguments.folder)))
        return

    from PIL import Image, ImageFilter

    rollouts = arguments.workers * arguments.prompts * N
    print(
        f"{arguments.family}, {arguments.workers} workers x {arguments.prompts} prompts x {N} = {rollouts} rollouts\n"
    )
    print("| rollouts | side | event loop, ms | longest step, ms | images to the engine, ms | threads, ms | row, MB |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for case in arguments.cases:
            width, height, crops, tokens = CASES[case]
            for name in ["warm", *range(arguments.prompts)]:
                noise = Image.effect_noise((width, height), 80).convert("RGB").filter(ImageFilter.GaussianBlur(2))
                noise.save(f"{folder}/{case}_{name}.jpg", quality=90)
            results = {}
            for side in ("before", "after"):
                own = ["--side", side, "--cases", case, "--folder", folder]
                common = ["--prompts", str(arguments.prompts), "--family", arguments.family]
                results[side] = found = all_workers(arguments.workers, own + common)
                print(
                    f"| {case}: {width} x {height}, {crops} crops, {tokens} tokens an image | {side} "
                    f"| {found['loop_ms']:.1f} | {found['longest_ms']:.0f} | {found['engine_ms']:.1f} "
                    f"| {found['threads_ms']:.0f} | {found['row_mb']:.1f} |"
                )
            ratios = {name: results["after"][name] / results["before"][name] for name in results["after"]}
            print(
                f"| | **ratio** | **{ratios['loop_ms']:.2f}** | **{ratios['longest_ms']:.2f}** "
                f"| {ratios['engine_ms']:.2f} | {ratios['threads_ms']:.2f} | **{ratios['row_mb']:.2f}** |"
            )


if __name__ == "__main__":
    main()
