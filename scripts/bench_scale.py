# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""What every process of a run does in a step of 1024 or 8192 rollouts, in a local ray, with scripted engines.

``simulated_step.py`` says what is real and what is scripted. Times are CPU times, so that other work on the machine
changes them little. Images are small, so that a step fits into the memory of one machine; docs/scale.md says what grows
with them. The figures are those of the last step.

    python scripts/bench_scale.py [--rollouts 1024 8192] [--methods mapo axpo]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
import scale_probes as probes
import torch
import transfer_queue as tq
from simulated_step import Sizes, make_config, make_trainer
from transfer_queue import interface

from verl_mapo.planning.arithmetic import BFLOAT16, feature_bytes, token_bytes
from verl_mapo.platforms import cpu

N = 8
TOKEN_FIELDS = {
    *("prompts", "responses", "input_ids", "position_ids", "response_mask", "loss_mask", "rollout_log_probs"),
    *("rm_scores", "log_probs", "entropy", "old_log_probs", "advantages", "returns"),
}
PIXEL_VALUES = 4704
"""Values of an image token of Qwen2.5-VL."""


class Step:
    """The figures of the last step of a simulated run, which its trainer's hooks collect.

    Args:
        trainer: of the run.
        manager: its agent-loop manager.
    """

    def __init__(self, trainer: Any, manager: Any):
        self.image_token = trainer.processor.image_token_id
        self.phases, self.workers, self.found = probes.Phases(), manager.agent_loop_workers, {}
        ray.get([worker.__ray_call__.remote(probes.time_steps) for worker in self.workers])
        probes.watch_phases(self.phases, trainer)
        self.phases.count_bytes()
        self.kinds = probes.actors()
        self.write, self.clear = trainer._write, tq.kv_clear
        trainer.on_step_begin, trainer.on_sample_end = self.begin, self.generated
        trainer._write, tq.kv_clear = self.recorded, self.cleared

    def begin(self) -> None:
        """At the begin of a step."""
        self.phases.clear()
        self.found = {"begin": probes.usage(self.kinds), "begin_at": time.monotonic()}

    def generated(self) -> None:
        """When all rollouts are in the queue."""
        self.found |= {"generated": probes.usage(self.kinds), "generated_at": time.monotonic()}
        with self.phases.phase("bench"):
            longest = ray.get([worker.__ray_call__.remote(probes.longest_step) for worker in self.workers])
            self.found |= {"longest": max(longest), "rows": self.storage()}

    def recorded(self, split: str, records: list[dict[str, Any]]) -> None:
        """When the records of a step are written; the queue then holds the most."""
        turns = [turn for record in records for turn in record["trajectory"]["turns"]]
        self.found["crops"] = sum(turn.get("score") is not None for turn in turns)
        with self.phases.phase("bench"):
            self.found["full"] = self.storage()
        self.write(split, records)

    def cleared(self, *args: Any, **kwargs: Any) -> None:
        """When rows are removed from the queue, which is the last part of a step that is measured."""
        self.clear(*args, **kwargs)
        self.phases.settle()
        self.found |= {"end": probes.usage(self.kinds), "end_at": time.monotonic(), "phases": dict(self.phases.found)}

    def storage(self) -> dict[str, Any]:
        """What all storage units hold together, see :func:`probes.held`."""
        units = interface._TQ_STORAGE["SimpleStorage"].values()
        parts = ray.get([unit.__ray_call__.remote(probes.held, self.image_token) for unit in units])
        fields: dict[str, int] = defaultdict(int)
        for part in parts:
            for name, nbytes in part.pop("fields").items():
                fields[name] += nbytes
        return {"fields": dict(fields), **{name: sum(part[name] for part in parts) for name in parts[0]}}

    def result(self) -> dict[str, Any]:
        """The figures as JSON."""
        found = self.found
        generation = probes.used(found["begin"], found["generated"], self.kinds)
        rest = probes.used(found["generated"], found["end"], self.kinds)
        peaks: dict[str, float] = defaultdict(float)
        for pid, kind in self.kinds.items():
            peaks[kind] = max(peaks[kind], probes.peak_mb(pid))
        kept = {name: found[name] for name in ("longest", "crops", "rows", "full", "phases")}
        seconds = found["generated_at"] - found["begin_at"], found["end_at"] - found["generated_at"]
        return {**kept, "seconds": seconds, "generation": generation, "rest": rest, "peaks": dict(peaks)}


def measure(method: str, rollouts: int, steps: int, sizes: dict[str, Any], folder: Path) -> dict[str, Any]:
    """One simulated run in this process."""
    torch.set_num_threads(1)
    os.environ["VERL_FILE_LOGGER_PATH"] = f"{folder}/metrics.jsonl"
    size = replace(Sizes(max(1, rollouts // N), n=N), **sizes)
    config = make_config(method, folder, size, steps)
    environment = {"PYTHONPATH": ":".join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    ray.init(
        num_cpus=32,  # only a number: each actor takes one
        num_gpus=0,
        include_dashboard=False,
        log_to_driver="BENCH_LOG" in os.environ,
        object_store_memory=2_000_000_000,
        runtime_env={"env_vars": environment},
    )
    trainer, manager = make_trainer(config, size)
    step = Step(trainer, manager)
    trainer.fit(manager)
    return step.result()


def print_processes(found: dict[str, Any]) -> None:
    """Print what each kind of process did in a step, and its memory."""
    rows = found["rows"]["rows"]
    print(
        "\n| process | number | CPU ms a rollout, all threads | its busiest thread | peak MB |\n|---|---|---|---|---|"
    )
    for kind, spent in found["generation"].items():
        rest = found["rest"][kind]
        each = (1000 * (spent[name] + rest[name]) / rows for name in ("all", "thread"))
        cells = [kind, f"{spent['count']:.0f}", *(f"{value:.2f}" for value in each), f"{found['peaks'][kind]:.0f}"]
        print(f"| {' | '.join(cells)} |")
    crops, scorer = found["crops"], found["generation"].get("ScorerActor")
    print(f"\nLongest step of an agent-loop worker's event loop: {1000 * found['longest']:.0f} ms of CPU time.")
    print(f"Rollouts a second here: {rows / found['seconds'][0]:.1f}.")
    if scorer and crops:
        print(f"Scorer: {crops} crops, {1000 * scorer['all'] / crops:.2f} CPU ms each.")


def print_phases(found: dict[str, Any]) -> None:
    """Print the phases of the trainer."""
    print("\n| phase of the trainer | CPU s | elapsed s | MB over the wire | calls |\n|---|---|---|---|---|")
    for name, (spent, elapsed, nbytes, calls) in found["phases"].items():
        if name != "bench":
            print(f"| {name} | {spent:.2f} | {elapsed:.1f} | {nbytes / 1e6:.0f} | {calls:.0f} |")


def print_rows(found: dict[str, Any]) -> None:
    """Print what the queue holds of a rollout, and what the formulas of a plan say of the same sizes."""
    print("\n| the queue holds, KB a rollout | measured | formula | ratio |\n|---|---|---|---|")
    for when, words in (("rows", "after the rollout"), ("full", "at most")):
        held = found[when]
        rows, fields = held["rows"], held["fields"]
        tokens = sum(nbytes for name, nbytes in fields.items() if name in TOKEN_FIELDS)
        parts = {
            "pixels": (held["pixels"], feature_bytes(held["image_tokens"], PIXEL_VALUES, BFLOAT16)),
            "columns of tokens": (tokens, token_bytes(held["tokens"], held["response"], when == "full")),
            "all else": (sum(fields.values()) - held["pixels"] - tokens, None),
        }
        for what, (measured, formula) in parts.items():
            told = ("", "") if formula is None else (f"{formula / rows / 1000:.1f}", f"{measured / formula:.3f}")
            print(f"| {what}, {words} | {measured / rows / 1000:.1f} | {' | '.join(told)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rollouts", type=int, nargs="+", default=[1024])
    parser.add_argument("--methods", nargs="+", default=["mapo", "axpo"])
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--sizes", type=json.loads, default={}, help="JSON of fields of simulated_step.Sizes")
    parser.add_argument("--json", type=Path, help="folder for all figures; printed figures are read from it, if there")
    parser.add_argument("--one", action="store_true", help="simulate in this process, and print nothing")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        out = arguments.json or Path(temporary)
        for rollouts in arguments.rollouts:
            for method in arguments.methods:
                file = out / f"{method}_{rollouts}.json"
                if arguments.one:
                    result = measure(method, rollouts, arguments.steps, arguments.sizes, Path(temporary))
                    file.write_text(json.dumps(result))
                    return
                if not file.exists():
                    options = ["--rollouts", str(rollouts), "--methods", method, "--steps", str(arguments.steps)]
                    options += ["--sizes", json.dumps(arguments.sizes), "--json", str(out), "--one"]
                    environment = {**cpu.environment(), **os.environ}
                    subprocess.run([sys.executable, __file__, *options], env=environment, check=True)
                found = json.loads(file.read_text())
                rows = found["rows"]["rows"]
                print(f"\n#### {method}: {rollouts} rollouts, {rows} rows", flush=True)
                for table in (print_processes, print_phases, print_rows):
                    table(found)


if __name__ == "__main__":
    main()
