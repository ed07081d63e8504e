# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The visual tool loop against verl's tool_agent with an equal zoom tool, on a scripted server.

64 rollouts at once (8 prompts x 8), each of 8 assistant turns: 4 crops, 3 boxes that are refused, an answer. Everything
but the language model is real: processor, Continuous Token, images. CPU time is per assistant turn; memory is the
growth of the process's resident set per rollout, taken while all 64 wait for their last turn.

    python scripts/bench_loop.py [--repeats 3]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PROMPTS, ROLLOUTS, TURNS = 8, 8, 8
GOOD = [(100, 100, 400, 300), (500, 200, 800, 700), (30, 600, 300, 900), (400, 400, 600, 600)]
BAD = (400, 400, 100, 100)
SIDE = 1600


class Server:
    """Answers with the script; the last turn waits until every rollout has come to it."""

    def __init__(self, tokenizer: Any):
        call = '<tool_call>\n{"name": "zoom", "arguments": {"label": "a red square", "bbox_2d": %s}}\n</tool_call>'
        boxes = [GOOD[0], BAD, GOOD[1], BAD, GOOD[2], BAD, GOOD[3]]
        texts = [*(f"<think>Let me look closer.</think>\n{call % list(box)}" for box in boxes), "<answer>red</answer>"]
        self.turns = [tokenizer.encode(text) + [tokenizer.eos_token_id] for text in texts]
        self.at: dict[str, int] = {}
        self.waiting, self.everyone, self.resident = 0, asyncio.Event(), 0

    async def generate(self, request_id: str, *, prompt_ids: list[int], **_: Any) -> Any:
        from verl.workers.rollout.replica import TokenOutput

        turn = self.at.get(request_id, 0)
        self.at[request_id] = turn + 1
        if turn == TURNS - 1:
            await self._barrier()
        await asyncio.sleep(0)
        ids = self.turns[turn]
        return TokenOutput(token_ids=ids, log_probs=[-0.5] * len(ids), extra_fields={"global_steps": 1})

    async def _barrier(self) -> None:
        self.waiting += 1
        if self.waiting == PROMPTS * ROLLOUTS:
            self.resident = _resident()
            self.everyone.set()
        await self.everyone.wait()


def _resident() -> int:
    import psutil

    gc.collect()
    return psutil.Process().memory_info().rss


def measure(side: str, folder: Path) -> dict[str, float]:
    """CPU milliseconds a turn and resident KiB a rollout of one of the loops, in this process."""
    import torch
    from hydra import compose, initialize_config_module
    from verl.experimental.agent_loop.agent_loop import DictConfigWrap, ToolListWrap
    from verl.experimental.agent_loop.tool_agent_loop import ToolAgentLoop
    from verl.utils.dataset.rl_dataset import RLHFDataset

    from verl_mapo.rollout.loop import VisualToolAgentLoop
    from verl_mapo.toy.tiny_vlm import build_processor

    torch.set_num_threads(1)
    processor = build_processor("qwen2_5_vl")
    processor.image_processor.size = {"shortest_edge": 4 * 28 * 28, "longest_edge": 1280 * 28 * 28}
    with initialize_config_module("verl_mapo.config", version_base=None):
        config = compose(
            "run",
            [
                "data.max_prompt_length=4096",
                "data.max_response_length=8192",
                f"actor_rollout_ref.rollout.multi_turn.max_assistant_turns={TURNS}",
                "actor_rollout_ref.rollout.multi_turn.max_tool_response_length=4096",
                "visual_tool.max_retries=8",
            ],
        )
    shared = {
        "trainer_config": DictConfigWrap(config),
        "tokenizer": processor.tokenizer,
        "processor": processor,
        "dataset_cls": RLHFDataset,
        "data_config": DictConfigWrap(config.data),
        "hf_model_type": "qwen2_5_vl",
    }
    tools = ToolListWrap([verl_zoom()]) if side == "verl" else None
    cls = ToolAgentLoop if side == "verl" else VisualToolAgentLoop

    async def roll(server: Server, prompts: list[Path], n: int) -> list[Any]:
        def one(path: Path) -> Any:
            content = [{"type": "image", "image": str(path)}, {"type": "text", "text": "Which colour is it?"}]
            raw = [{"role": "system", "content": "You are a helpful assistant."}, {"role": "user", "content": content}]
            return cls(server_manager=server, tools=tools, **shared).run({"temperature": 1.0}, raw_prompt=raw)

        return await asyncio.gather(*(one(path) for path in prompts for _ in range(n)))

    async def bench() -> dict[str, float]:
        warm = Server(processor.tokenizer)
        warm.everyone.set()
        await roll(warm, [folder / "warm.png"], 1)
        server = Server(processor.tokenizer)
        before, start = _resident(), time.process_time()
        outputs = await roll(server, [folder / f"{i}.png" for i in range(PROMPTS)], ROLLOUTS)
        cpu = time.process_time() - start
        assert all(len(output.multi_modal_data["images"]) == 5 for output in outputs)
        rollouts = PROMPTS * ROLLOUTS
        return {
            "cpu_ms": 1000 * cpu / (rollouts * TURNS),
            "kib": (server.resident - before) / 1024 / rollouts,
        }

    return asyncio.run(bench())


def verl_zoom() -> Any:
    """The same zoom as a verl tool: pixels of the seen image in, a crop of the full-resolution original out."""
    from PIL import Image
    from verl.tools.base_tool import BaseTool
    from verl.tools.schemas import OpenAIFunctionToolSchema, ToolResponse

    class ZoomTool(BaseTool):
        async def execute(self, instance_id: str, parameters: dict, agent_data: Any = None, **_: Any) -> tuple:
            x1, y1, x2, y2 = parameters["bbox_2d"]
            if x2 <= x1 or y2 <= y1:
                return ToolResponse(text="The box is empty or inverted: it needs x1 < x2 and y1 < y2."), 0.0, {}
            seen = agent_data.image_data[0]
            original = agent_data.extra_fields.get("original")
            if original is None:
                path = agent_data.messages[1]["content"][0]["image"]
                original = agent_data.extra_fields["original"] = Image.open(path).convert("RGB")
            x, y = original.width / seen.width, original.height / seen.height
            crop = original.crop((round(x1 * x), round(y1 * y), round(x2 * x), round(y2 * y)))
            return ToolResponse(image=[crop], text="Image 1."), 0.0, {}

    schema = {
        "type": "function",
        "function": {
            "name": "zoom",
            "description": "Zoom in on a region of an image.",
            "parameters": {
                "type": "object",
                "properties": {
                    "label": {"type": "string", "description": "what you expect to see in the region"},
                    "bbox_2d": {"type": "array", "description": "x1, y1, x2, y2, in pixels of that image"},
                },
                "required": ["label", "bbox_2d"],
            },
        },
    }
    return ZoomTool(config={}, tool_schema=OpenAIFunctionToolSchema.model_validate(schema))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--side", choices=["ours", "verl"])
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps(measure(arguments.side, arguments.folder)))
        return

    from PIL import Image

    with tempfile.TemporaryDirectory() as folder:
        for name in ["warm", *range(PROMPTS)]:
            Image.effect_noise((SIDE, SIDE * 3 // 4), 60).convert("RGB").save(f"{folder}/{name}.png")
        results: dict[str, list[dict[str, float]]] = {"verl": [], "ours": []}
        for _ in range(arguments.repeats):
            for side, found in results.items():
                command = [sys.executable, __file__, "--side", side, "--folder", folder]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                found.append(json.loads(done.stdout.splitlines()[-1]))
    medians = {
        side: {name: statistics.median(run[name] for run in found) for name in found[0]}
        for side, found in results.items()
    }
    print("| loop | CPU ms a turn | resident MiB a rollout |")
    print("|---|---|---|")
    for side, label in (("verl", "verl tool_agent"), ("ours", "visual_tool_agent")):
        print(f"| {label} | {medians[side]['cpu_ms']:.2f} | {medians[side]['kib'] / 1024:.2f} |")
    ratios = {name: medians["ours"][name] / medians["verl"][name] for name in medians["ours"]}
    print(f"| **ratio** | **{ratios['cpu_ms']:.2f}** | **{ratios['kib']:.2f}** |")


if __name__ == "__main__":
    main()
