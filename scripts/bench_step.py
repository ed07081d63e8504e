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
"""A training step on the CPU stack: mapo, the same without scoring, verl's grpo + tool_agent on the same data, axpo.

Real runs of a tiny model. verl's replay buffer polls every 2 s, which would hide everything else at this size, so all
runs use a buffer that polls every 20 ms; a stock step is up to 2 s longer. The stock side gets the same prompt tokens
(the tool declaration stands in its system prompt), an equal zoom tool and observation. Steps are compared by
the time per token of the batch, since the policies' rollouts differ in length; axpo by the time per trained token, of
which the prompts and prefixes that its continuations bring once more are none.

    python scripts/bench_step.py [--steps 8] [--rounds 1]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from verl.tools.base_tool import BaseTool
from verl.tools.schemas import ToolResponse
from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer

WARM_UP = 2

ZOOM_YAML = """
tools:
  - class_name: bench_step.StockZoom
    config: {type: native}
    tool_schema:
      type: function
      function:
        name: zoom
        description: Zoom in on a region of an image.
        parameters:
          type: object
          properties:
            label: {type: string, description: what you expect to see in the region}
            bbox_2d: {type: array, description: "x1, y1, x2, y2, in pixels of that image"}
          required: [label, bbox_2d]
"""

TOOL_ROLE = """{%- for message in messages -%}
{%- if message['role'] == 'tool' -%}{{- '<|im_start|>user\\n<tool_response>\\n' -}}
{%- else -%}{{- '<|im_start|>' + message['role'] + '\\n' -}}{%- endif -%}
{%- if message['content'] is string -%}{{- message['content'] -}}
{%- else -%}
{%- for part in message['content'] -%}
{%- if part['type'] == 'image' -%}<|vision_start|><|image_pad|><|vision_end|>
{%- else -%}{{- part['text'] -}}{%- endif -%}
{%- endfor -%}
{%- endif -%}
{%- if message['role'] == 'tool' -%}{{- '\\n</tool_response>' -}}{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""


class EagerReplayBuffer(ReplayBuffer):
    """verl's buffer, looking fifty times a second."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, poll_interval=0.02, **kwargs)


class StockZoom(BaseTool):
    """The same zoom as a verl tool: pixels of the seen image in, a crop of the full-resolution original out."""

    async def execute(self, instance_id: str, parameters: dict, agent_data: Any = None, **_: Any) -> tuple:
        from PIL import Image

        seen = agent_data.image_data[0]
        original = Image.open(agent_data.messages[1]["content"][0]["image"]).convert("RGB")
        x, y = original.width / seen.width, original.height / seen.height
        x1, y1, x2, y2 = (float(value) for value in parameters["bbox_2d"])
        crop = original.crop((round(x1 * x), round(y1 * y), round(x2 * x), round(y2 * y)))
        return ToolResponse(image=[crop.resize((84, 84))], text="Image 1, 84 x 84 pixels."), 0.0, {}


def exact(data_source: str, solution_str: str, ground_truth: str, extra_info: Any = None, **_: Any) -> dict:
    """The toy's outcome as a verl reward function."""
    return {"score": float(f"<answer>{ground_truth}</answer>" in solution_str)}


def declared(parquet: Path, out: Path) -> Path:
    """The toy's rows with the tool declaration in their system prompt, for an agent loop that does not write it."""
    import pandas as pd

    from verl_mapo.rollout import prompts
    from verl_mapo.rollout.settings import VisualToolSettings
    from verl_mapo.tools.coordinates import CoordinateSpace

    tools = VisualToolSettings().build_tools(CoordinateSpace.pixels, 28).values()
    rows = pd.read_parquet(parquet)
    rows["prompt"] = [prompts.declare(list(row), tools, "before") for row in rows["prompt"]]
    rows.to_parquet(out)
    return out


def with_tool_role(model: Path, out: Path) -> Path:
    """The toy's model with a chat template that knows the tool role, rendered as the visual tool loop renders it."""
    shutil.copytree(model, out)
    (out / "chat_template.jinja").write_text(TOOL_ROLE)
    return out


def sides(toy: Any, folder: Path) -> dict[str, list[str]]:
    """Overrides of each run beyond what all have in common."""
    (folder / "zoom.yaml").write_text(ZOOM_YAML)
    naive = [
        "algorithm.adv_estimator=grpo",
        "reward.reward_manager.name=naive",
        f"reward.custom_reward_function.path={__file__}",
        "reward.custom_reward_function.name=exact",
    ]
    stock = [
        f"data.train_files={declared(toy.train, folder / 'train.parquet')}",
        "actor_rollout_ref.rollout.agent.default_agent_loop=tool_agent",
        f"actor_rollout_ref.rollout.multi_turn.tool_config_path={folder / 'zoom.yaml'}",
        f"actor_rollout_ref.model.path={with_tool_role(toy.model, folder / 'model')}",
    ]
    return {
        "verl grpo + tool_agent": [*naive, *stock],
        "visual_tool_agent, not scored": naive,
        "mapo": [],
        "grpo, scored": ["algorithm.adv_estimator=grpo"],
        "axpo": ["method=axpo"],
        "axpo, streaming": ["method=axpo", "algorithm.axpo.allocation=streaming"],
    }


def trained_tokens(rollouts: Path) -> int:
    """Tokens that the loss of a step acts on, from the records of its rollouts; 0 for verl's own agent loop."""
    total = 0
    for record in map(json.loads, rollouts.read_text().splitlines()) if rollouts.exists() else ():
        role, prefix = (record["axpo"] or {"role": "plain"})["role"], (record["axpo"] or {}).get("prefix_tokens", 0)
        written = sum(end - begin for begin, end in (turn["span"] for turn in record["trajectory"]["turns"]))
        total += {"plain": written, "source": prefix, "resample": written - prefix}[role]
    return total


def run(folder: Path, toy: Any, steps: int, overrides: list[str]) -> dict[str, float]:
    """One real run; medians over the steps after the warm-up."""
    from verl_mapo.platforms import cpu
    from verl_mapo.platforms.launcher import launch

    folder.mkdir(parents=True)
    metrics = folder / "metrics.jsonl"
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    env = {**cpu.environment(), **os.environ, "PYTHONPATH": path, "VERL_FILE_LOGGER_PATH": str(metrics)}
    arguments = ["--config-path", "pkg://verl_mapo.config", "--config-name", "mapo", f"hydra.run.dir={folder}"]
    arguments += ["stack=cpu", "task=toy", f"data.train_files={toy.train}", f"data.val_files={toy.test}"]
    arguments += [
        f"actor_rollout_ref.model.path={toy.model}",
        f"reward.description_alignment.scorer.model={toy.clip}",
        f"trainer.total_training_steps={steps}",
        "trainer.val_before_train=false",
        f"trainer.default_local_dir={folder}/checkpoints",
        f"trainer.rollout_data_dir={folder}/trajectories",
        f"trainer.v1.sampler.custom_sampler.path={__file__}",
        "trainer.v1.sampler.custom_sampler.name=EagerReplayBuffer",
        "actor_rollout_ref.actor.optim.lr=1e-6",
        *overrides,
    ]
    code = launch(arguments, timeout_s=1800, env=env, log=folder / "train.log", echo=lambda _: None)
    if code:
        sys.exit(f"The run in {folder} failed with {code}: {(folder / 'train.log').read_text()[-3000:]}")
    logged = [json.loads(line)["data"] for line in metrics.read_text().splitlines()][WARM_UP:]
    trained = [trained_tokens(folder / "trajectories" / "train" / f"{step}.jsonl") for step in range(1, steps + 1)]
    cached = [data["axpo/cached_share"] for data in logged if "axpo/cached_share" in data]
    return {
        "step": statistics.median(data["timing_s/step"] for data in logged),
        "gen": statistics.median(data["timing_s/gen"] for data in logged),
        "tokens": statistics.median(data["perf/total_num_tokens"] for data in logged),
        "per_token": statistics.median(data["timing_s/step"] / data["perf/total_num_tokens"] for data in logged),
        "per_trained": statistics.median(
            data["timing_s/step"] / (count or 1) for data, count in zip(logged, trained[WARM_UP:], strict=True)
        ),
        "cached": statistics.fmean(cached) if cached else 0.0,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()

    from verl_mapo.data.prepare import prepare

    with tempfile.TemporaryDirectory() as folder:
        toy = prepare(Path(folder) / "toy", "qwen2_5_vl", "smoke")
        every = sides(toy, Path(folder))
        found: dict[str, list[dict[str, float]]] = {side: [] for side in every}
        for number in range(arguments.rounds):
            for place, (side, overrides) in enumerate(every.items()):
                found[side].append(run(Path(folder) / f"run-{number}-{place}", toy, arguments.steps, overrides))
    medians = {
        side: {name: statistics.median(one[name] for one in runs) for name in runs[0]} for side, runs in found.items()
    }
    base = medians["verl grpo + tool_agent"]
    print("| run | step s | of it generation s | tokens a step | ms a token | ratio to verl's |")
    print("|---|---|---|---|---|---|")
    for side, values in medians.items():
        print(
            f"| {side} | {values['step']:.2f} | {values['gen']:.2f} | {values['tokens']:.0f} "
            f"| {1000 * values['per_token']:.3f} | {values['per_token'] / base['per_token']:.2f} |"
        )
    unscored, scored = medians["visual_tool_agent, not scored"], medians["mapo"]
    print(f"\nScoring and the mapo advantage: {scored['per_token'] / unscored['per_token']:.3f} x the step without.")
    plain, axpo, streaming = (medians[side] for side in ("grpo, scored", "axpo", "axpo, streaming"))
    print(
        f"Resampling: {axpo['per_trained'] / plain['per_trained']:.3f} x the plain step's time per trained token; "
        f"{axpo['cached']:.1%} of the tokens its continuations are given come from the cache; waiting for the slots' "
        f"order: {axpo['gen'] / streaming['gen']:.3f} x the generation time of streaming."
    )


if __name__ == "__main__":
    main()
