# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""A training step on the CPU stack: mapo, the same without scoring, verl's grpo + tool_agent on the same data, axpo.

Real runs of a tiny model, two at a time: the two sides of a comparison run at once, each on its half of the cores, and
swap the halves from round to round, so that whatever else slows the machine slows both. The stock side gets the same
prompt tokens (the tool declaration stands in its system prompt), an equal zoom tool and observation. Steps are compared
by the time per token of the batch, since the policies' rollouts differ in length; axpo by the time per trained token,
of which the prompts and prefixes that its continuations bring once more are none. What scoring costs is less than what
two equal runs differ by, so the CPU time of the reward worker, which does it, is told too: were it all on the one core
a side has here, a step would take that much longer.

    python scripts/bench_step.py [--steps 8] [--rounds 2]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import psutil
from verl.tools.base_tool import BaseTool
from verl.tools.schemas import ToolResponse

WARM_UP = 2
PROMPTS = 4  # a step, of 8 rollouts each

STOCK, UNSCORED, MAPO, GRPO, AXPO, STREAMING = (
    "verl grpo + tool_agent",
    "visual_tool_agent, not scored",
    "mapo",
    "grpo, scored",
    "axpo",
    "axpo, streaming",
)
PAIRS = (
    (MAPO, STOCK, "per_token"),
    (MAPO, UNSCORED, "per_token"),
    (AXPO, GRPO, "per_trained"),
    (AXPO, STREAMING, "gen"),
)
WHAT = {"per_token": "time a token", "per_trained": "time a trained token", "gen": "generation time"}

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
        STOCK: [*naive, *stock],
        UNSCORED: naive,
        MAPO: [],
        GRPO: ["algorithm.adv_estimator=grpo"],
        AXPO: ["method=axpo"],
        STREAMING: ["method=axpo", "algorithm.axpo.allocation=streaming"],
    }


def trained_tokens(rollouts: Path) -> int:
    """Tokens that the loss of a step acts on, from the records of its rollouts; 0 for verl's own agent loop."""
    total = 0
    for record in map(json.loads, rollouts.read_text().splitlines()) if rollouts.exists() else ():
        role, prefix = (record["axpo"] or {"role": "plain"})["role"], (record["axpo"] or {}).get("prefix_length", 0)
        written = sum(end - begin for begin, end in (turn["span"] for turn in record["trajectory"]["turns"]))
        total += {"plain": written, "source": prefix, "resample": written - prefix}[role]
    return total


def watch(metrics: Path, cpu: dict[int, float]) -> None:
    """For as long as this process lives: the CPU seconds of its reward worker when each number of steps was logged."""
    while True:
        time.sleep(1)
        steps = len(metrics.read_text().splitlines()) if metrics.exists() else 0
        with suppress(psutil.NoSuchProcess):
            for process in psutil.Process().children(recursive=True):
                if process.name().startswith("ray::RewardLoopWorker"):
                    cpu.setdefault(steps, sum(process.cpu_times()[:2]))


def measure(cores: set[int], folder: Path, toy: Any, steps: int, overrides: list[str]) -> dict[str, float]:
    """One real run on these cores; medians over the steps after the warm-up."""
    from verl_mapo.launcher import launch
    from verl_mapo.platforms import cpu

    os.sched_setaffinity(0, cores)
    folder.mkdir(parents=True)
    metrics = folder / "metrics.jsonl"
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    env = {**cpu.environment(), **os.environ, "PYTHONPATH": path, "VERL_FILE_LOGGER_PATH": str(metrics)}
    arguments = ["--config-path", "pkg://verl_mapo.config", "--config-name", "run", f"hydra.run.dir={folder}"]
    arguments += ["stack=cpu", "task=toy", f"data.train_files={toy.train}", f"data.val_files={toy.test}"]
    arguments += [
        f"actor_rollout_ref.model.path={toy.model}",
        f"reward.description_alignment.scorer.model={toy.clip}",
        f"data.train_batch_size={PROMPTS}",
        f"actor_rollout_ref.actor.ppo_mini_batch_size={PROMPTS}",
        f"trainer.total_training_steps={steps}",
        "trainer.val_before_train=false",
        f"trainer.default_local_dir={folder}/checkpoints",
        f"trainer.rollout_data_dir={folder}/trajectories",
        "actor_rollout_ref.actor.optim.lr=1e-6",
        *overrides,
    ]
    cpu: dict[int, float] = {}
    threading.Thread(target=watch, args=(metrics, cpu), daemon=True).start()
    code = launch(arguments, timeout_s=1800, env=env, log=folder / "train.log", echo=lambda _: None)
    if code:
        raise RuntimeError(f"the run in {folder} failed with {code}: {(folder / 'train.log').read_text()[-3000:]}")
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
        "reward_cpu": (cpu[max(cpu)] - cpu[WARM_UP]) / (max(cpu) - WARM_UP),
    }


def side_by_side(folder: Path, toy: Any, steps: int, pair: list[list[str]], swapped: bool) -> list[dict[str, float]]:
    """Two runs at once, each on half of the cores; ``swapped`` gives each the other half."""
    cores = sorted(os.sched_getaffinity(0))
    halves = [set(cores[::2]), set(cores[1::2])][:: -1 if swapped else 1]
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        runs = [
            pool.submit(measure, half, folder / str(number), toy, steps, overrides)
            for number, (half, overrides) in enumerate(zip(halves, pair, strict=True))
        ]
        return [each.result() for each in runs]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=2, help="the cores are swapped from round to round")
    arguments = parser.parse_args()

    from verl_mapo.toy.prepare import prepare

    print("| this | against | step s | tokens a step | ratio | of | by round |\n|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        toy = prepare(folder / "toy", "qwen2_5_vl", "smoke")
        overrides = sides(toy, folder)
        for place, (this, other, what) in enumerate(PAIRS):
            rounds, pair = [], [overrides[this], overrides[other]]
            for number in range(arguments.rounds):
                out = folder / f"{place}-{number}"
                rounds.append(side_by_side(out, toy, arguments.steps, pair, swapped=number % 2 == 1))
            print(row(this, other, what, rounds), flush=True)


def row(this: str, other: str, what: str, rounds: list[list[dict[str, float]]]) -> str:
    """A line of the table: medians of both sides over the rounds, and the mean of the ratios within a round."""

    def both(name: str, form: str) -> str:
        medians = (statistics.median(run[name] for run in side) for side in zip(*rounds, strict=True))
        return " and ".join(f"{median:{form}}" for median in medians)

    ratios = [mine[what] / theirs[what] for mine, theirs in rounds]
    by_round = ", ".join(f"{ratio:.3f}" for ratio in ratios)
    cached = [run["cached"] for runs in rounds for run in runs if run["cached"]]
    of = WHAT[what] + (f"; {statistics.fmean(cached):.1%} of given tokens cached" if cached else "")
    if other == UNSCORED:
        of += f"; reward worker {both('reward_cpu', '.2f')} CPU s a step"
    steps, tokens, ratio = both("step", ".2f"), both("tokens", ".0f"), statistics.fmean(ratios)
    return f"| {this} | {other} | {steps} | {tokens} | **{ratio:.3f}** | {of} | {by_round} |"


if __name__ == "__main__":
    main()
