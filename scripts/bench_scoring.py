# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""How much batching saves: waiting crops scored together against one at a time, on one CPU thread or a GPU.

    python scripts/bench_scoring.py [--crops 64] [--rounds 7] [--device cpu] [--model FOLDER_OR_HUB_NAME ...]

Without ``--model``, CLIPs with random weights are made: weights do not change the time. Both ways go through
``BatchingScorer`` with everything it does: JPEG decoding, the processor, both towers.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from PIL import Image
from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizer
from transformers.utils.logging import disable_progress_bar

from verl_mapo.rewards.scorers.base import build_scorer
from verl_mapo.rewards.scorers.batching import BatchingScorer
from verl_mapo.rewards.scorers.settings import ScorerSettings

SHAPES = {
    "tiny, 56 px": {"side": 56, "patch": 14, "width": 64, "layers": 3, "positions": 32},
    "mid-size, 112 px": {"side": 112, "patch": 16, "width": 256, "layers": 6, "positions": 77},
}


def random_clip(folder: Path, side: int, patch: int, width: int, layers: int, positions: int) -> None:
    """Save a CLIP with random weights and one token a letter."""
    letters = sorted(ByteLevel.alphabet())
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    end = len(tokens) - 1
    tower = {"hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": layers}
    tower["num_attention_heads"] = max(1, width // 64)
    text = {"vocab_size": end + 1, "max_position_embeddings": positions, "eos_token_id": end, "bos_token_id": end - 1}
    config = CLIPConfig(
        text_config={**tower, **text, "pad_token_id": end},
        vision_config={**tower, "image_size": side, "patch_size": patch},
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


def models(named: list[str]) -> Iterator[tuple[str, str]]:
    """Name and folder of each model to measure."""
    if named:
        yield from ((name, name) for name in named)
        return
    with tempfile.TemporaryDirectory() as parent:
        for name, shape in SHAPES.items():
            folder = Path(parent) / name
            random_clip(folder, **shape)
            yield name, str(folder)


def main() -> None:
    """Print a markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--crops", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--model", nargs="*", default=[])
    options = parser.parse_args()
    disable_progress_bar()
    torch.set_num_threads(1)
    pairs = waiting(options.crops)
    print(f"| model | parameters | one by one, ms a crop | {options.crops} together, ms a crop | ratio |")
    print("|---|---|---|---|---|")
    for name, folder in models(options.model):
        settings = {"model": folder, "device": options.device, "max_wait_ms": 0.0, "timeout_s": 600.0}
        scorer = build_scorer(ScorerSettings(**settings))
        size = sum(parameter.numel() for parameter in scorer.model.parameters()) / 1e6
        alone, together = (
            seconds(BatchingScorer(scorer, ScorerSettings(**settings, max_batch=batch)), pairs, options.rounds)
            for batch in (1, options.crops)
        )
        cells = [name, f"{size:.1f} M", *(f"{1000 * t / options.crops:.2f}" for t in (alone, together))]
        print(f"| {' | '.join(cells)} | {alone / together:.1f} |")


if __name__ == "__main__":
    main()
