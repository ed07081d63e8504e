# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""How much batching saves, and what a scorer's place and its number of copies change; prints two markdown tables.

    python scripts/bench_scoring.py [--crops 64] [--rounds 7] [--device cpu] [--model FOLDER_OR_HUB_NAME ...]

Without ``--model``, CLIPs with random weights are made: weights do not change the time. All ways go through
``BatchingScorer`` with everything it does: JPEG decoding, the processor, both towers. The first table compares waiting
crops scored together with one at a time, on one thread or a GPU. The second one has two reward workers in a local Ray,
between which the crops are divided, and the scorer in each of them or in actors; the sides of a round come in turn. It
counts the CPU time of the busiest of these processes, which bounds the throughput where each has a core or a node of
its own, and the time that passed, which also holds the shortage of cores here.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import ray
import torch
from PIL import Image
from ray._private import state
from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizer
from transformers.utils.logging import disable_progress_bar

from verl_mapo.rewards.scorers.actor import RemoteScorer, start_scorers
from verl_mapo.rewards.scorers.base import build_scorer
from verl_mapo.rewards.scorers.batching import BatchingScorer
from verl_mapo.rewards.scorers.settings import ScorerSettings

SHAPES = {
    "tiny, 56 px": {"side": 56, "patch": 14, "width": 64, "layers": 3, "positions": 32},
    "mid-size, 112 px": {"side": 112, "patch": 16, "width": 256, "layers": 6, "positions": 77},
}
PLACED = {
    **SHAPES,
    "ViT-B/32": {"side": 224, "patch": 32, "width": 768, "layers": 12, "positions": 77, "text_width": 512},
}
WORKERS = 2


def random_clip(
    folder: Path, side: int, patch: int, width: int, layers: int, positions: int, text_width: int | None = None
) -> None:
    """Save a CLIP with random weights and one token a letter; the text tower is as wide as the other by default."""
    letters = sorted(ByteLevel.alphabet())
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    end = len(tokens) - 1
    narrow, wide = (
        {
            "hidden_size": size,
            "intermediate_size": 4 * size,
            "num_hidden_layers": layers,
            "num_attention_heads": max(1, size // 64),
        }
        for size in (text_width or width, width)
    )
    text = {"vocab_size": end + 1, "max_position_embeddings": positions, "eos_token_id": end, "bos_token_id": end - 1}
    config = CLIPConfig(
        text_config={**narrow, **text, "pad_token_id": end},
        vision_config={**wide, "image_size": side, "patch_size": patch},
    )
    CLIPModel(config).save_pretrained(folder)
    CLIPProcessor(
        CLIPImageProcessor(size={"shortest_edge": side}, crop_size={"height": side, "width": side}),
        CLIPTokenizer(vocab={token: index for index, token in enumerate(tokens)}, merges=[]),
    ).save_pretrained(folder)


def waiting(count: int) -> list[tuple[str, bytes]]:
    """Labels of about ten tokens and JPEG crops of many sizes, as the loop sends them."""
    rng = random.Random(0)
    pairs = []
    for index in range(count):
        size = rng.randint(40, 224), rng.randint(40, 224)
        buffer = io.BytesIO()
        Image.effect_noise(size, 60).convert("RGB").save(buffer, "JPEG")
        pairs.append((f"label {index}", buffer.getvalue()))
    return pairs


def seconds(scorer: BatchingScorer, pairs: list[tuple[str, bytes]], rounds: int) -> float:
    """Median time in which all pairs, asked for at once, are scored; the first round is not counted."""

    async def score_all() -> None:
        scores = await asyncio.gather(*(scorer.score(text, crop) for text, crop in pairs))
        assert None not in scores

    times = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        asyncio.run(score_all())
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


@ray.remote(num_cpus=0)
class Worker:
    """A reward worker with its own scorer, or with a client of the actors."""

    def __init__(self, settings: ScorerSettings):
        in_actors = settings.placement == "actor"
        self.scorer = RemoteScorer(settings) if in_actors else BatchingScorer(build_scorer(settings), settings)

    async def score(self, pairs: list[tuple[str, bytes]]) -> None:
        """Score pairs that are asked for at once."""
        assert None not in await asyncio.gather(*(self.scorer.score(text, crop) for text, crop in pairs))


def placed(settings: dict[str, object], pairs: list[tuple[str, bytes]], rounds: int) -> dict[str, tuple[float, float]]:
    """Median CPU seconds of the busiest process and median seconds in which two workers score all pairs, by place."""
    sides = {"actor, 1 copy": {"placement": "actor"}, "actor, 2 copies": {"placement": "actor", "replicas": 2}}
    if settings["device"] == "cpu":
        sides["worker, 2 copies"] = {"placement": "worker"}
    workers, processes, kept = {}, {}, []
    for side, changed in sides.items():
        each = ScorerSettings(**{**settings, **changed})
        actors = start_scorers(each) if each.placement == "actor" else []
        kept += actors  # Ray ends an actor with its handle
        workers[side] = [Worker.remote(each) for _ in range(WORKERS)]
        ray.get([worker.score.remote(pairs) for worker in workers[side]])  # warms up
        known = state.actors()
        processes[side] = [psutil.Process(known[one._actor_id.hex()]["Pid"]) for one in actors + workers[side]]
    rows: dict[str, list[tuple[float, float]]] = {side: [] for side in sides}
    for _ in range(rounds):
        for side in sides:
            before, start = [sum(one.cpu_times()[:2]) for one in processes[side]], time.perf_counter()
            parts = (pairs[number::WORKERS] for number in range(WORKERS))
            ray.get([worker.score.remote(part) for worker, part in zip(workers[side], parts, strict=True)])
            taken = time.perf_counter() - start
            used = [sum(one.cpu_times()[:2]) - then for one, then in zip(processes[side], before, strict=True)]
            rows[side].append((max(used), taken))
    return {side: tuple(map(statistics.median, zip(*each, strict=True))) for side, each in rows.items()}


def models(named: list[str], shapes: dict[str, dict[str, int]]) -> Iterator[tuple[str, str]]:
    """Name and folder of each model to measure."""
    if named:
        yield from ((name, name) for name in named)
        return
    with tempfile.TemporaryDirectory() as parent:
        for name, shape in shapes.items():
            folder = Path(parent) / name
            random_clip(folder, **shape)
            yield name, str(folder)


def print_batches(options: argparse.Namespace, pairs: list[tuple[str, bytes]]) -> None:
    """Print the table of batches."""
    print(f"| model | parameters | one by one, ms a crop | {options.crops} together, ms a crop | ratio |")
    print("|---|---|---|---|---|")
    for name, folder in models(options.model, SHAPES):
        settings = {"model": folder, "device": options.device, "placement": "actor", "max_wait_ms": 0.0}
        settings["timeout_s"] = 600.0
        scorer = build_scorer(ScorerSettings(**settings))
        size = sum(parameter.numel() for parameter in scorer.model.parameters()) / 1e6
        alone, together = (
            seconds(BatchingScorer(scorer, ScorerSettings(**settings, max_batch=batch)), pairs, options.rounds)
            for batch in (1, options.crops)
        )
        cells = [name, f"{size:.1f} M", *(f"{1000 * t / options.crops:.2f}" for t in (alone, together))]
        print(f"| {' | '.join(cells)} | {alone / together:.1f} |")


def print_places(options: argparse.Namespace, pairs: list[tuple[str, bytes]]) -> None:
    """Print the table of places."""
    environment = {"PYTHONPATH": ":".join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    ray.init(include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": environment})
    print("\n| model | scorer | busiest process, CPU ms a crop | ratio | crops a second here |")
    print("|---|---|---|---|---|")
    for name, folder in models(options.model, PLACED):
        settings = {"model": folder, "device": options.device, "max_batch": 16, "timeout_s": 600.0}
        rows = placed(settings, pairs, options.rounds)
        one, _ = rows["actor, 1 copy"]
        for side, (busy, taken) in rows.items():
            cells = [f"{1000 * busy / options.crops:.2f}", f"{busy / one:.2f}", f"{options.crops / taken:.1f}"]
            print(f"| {name} | {side} | {' | '.join(cells)} |")
    ray.shutdown()


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--crops", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--model", nargs="*", default=[])
    options = parser.parse_args()
    disable_progress_bar()
    torch.set_num_threads(1)
    pairs = waiting(options.crops)
    print_batches(options, pairs)
    print_places(options, pairs)


if __name__ == "__main__":
    main()
