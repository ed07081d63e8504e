# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""How well a scorer judges crops that are not square, for each value of ``scorer.fit``; prints markdown.

    python scripts/bench_fit.py [--seeds 1] [--steps 600] [--strips 200] [--kinds KIND ...] [--whole]
        [--toy-clip FOLDER]

A strip is a row or a column of cells of a canvas. Its right label names what one of its cells shows, its wrong label
names what none of them shows. *AUC* is the probability that the right label's score is above the wrong one's: within
a strip, for each ratio and for labels of the strip's ends alone, and over all pairs of strips (*pooled*), where a fit
that moves the scores of long strips as a whole loses.

The released CLIPs are not at hand. Their places take tiny CLIPs of 56 px and patches of 8, so 7 x 7 patches as in
ViT-B/32. They are trained here on windows of other canvases with things of many sizes, in the two ways of the released
ones: *cropped* on square windows in their ratio (CLIP), *squashed* on windows of ratios up to 2 that are resized to a
square (SigLIP); in both, one window in ten is letterboxed, as some images of the web are. The canvases are the toy's
scenes, mosaics of photographs, and photographs.

Strips pass through the scorer with everything before it: the JPEG that the agent loop keeps of a crop, whose longest
side is that of the model's input (224 px in a run), and the model's own processor. ``--whole`` gives it the strip
itself instead.
"""

from __future__ import annotations

import argparse
import io
import itertools
import math
import random
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor
from transformers.utils.logging import disable_progress_bar

from verl_mapo.rewards.scorers.base import build_scorer
from verl_mapo.rewards.scorers.clip import ClipScorer
from verl_mapo.rewards.scorers.fit import CLIP_MEAN, letterboxed
from verl_mapo.rewards.scorers.settings import ScorerSettings
from verl_mapo.rollout.images import thumbnail
from verl_mapo.toy import tiny_clip
from verl_mapo.toy.language import Stage
from verl_mapo.toy.visual_search import CELL, GRID, NAMES, VisualSearch

FITS = ("model", "letterbox", "stretch")
SIDE, PATCH = 56, 8
WINDOWS, STRIPS = 16, 4
"""Training windows and test strips that are cut from one canvas."""
TRAIN, TEST = "train", "test"
RATIOS = (1, 2, 4, 8)
PHOTOS = (
    *("astronaut", "brick", "camera", "cat", "coffee", "coins", "grass", "gravel", "hubble_deep_field"),
    *("immunohistochemistry", "moon", "page", "retina", "rocket"),
)


@dataclass(frozen=True)
class Canvas:
    """An image of square cells of :data:`CELL` pixels.

    Attributes:
        image: RGB.
        names: (rows, columns), what each cell shows; None for nothing.
    """

    image: Image.Image
    names: list[list[str | None]]


@dataclass(frozen=True)
class Kind:
    """A kind of canvas.

    Attributes:
        draw: a canvas of the split ``train`` or ``test``.
        captions: every name.
        ratios: ratios of the sides of its strips.
    """

    draw: Callable[[random.Random, str], Canvas]
    captions: tuple[str, ...]
    ratios: tuple[int, ...]


def scene(rng: random.Random, split: str) -> Canvas:
    """A scene of the toy, of its split for the CLIP or of its test split."""
    drawn = VisualSearch().scene(rng.randrange(2**31), "clip" if split == TRAIN else "test", 0)
    names = {each.cell: each.name for each in drawn.objects}
    return Canvas(drawn.image, [[names.get(row * GRID + column) for column in range(GRID)] for row in range(GRID)])


@cache
def photograph(name: str, split: str) -> Image.Image:
    """The left half of a photograph in scikit-image's wheel for training, the right half for the test."""
    from skimage import data

    photo = Image.fromarray(getattr(data, name)()).convert("RGB")
    middle = photo.width // 2
    return photo.crop((0, 0, middle, photo.height) if split == TRAIN else (middle, 0, photo.width, photo.height))


def mosaic(rng: random.Random, split: str) -> Canvas:
    """8 x 8 squares, each a part of a photograph."""
    names = [[rng.choice(PHOTOS) for _ in range(8)] for _ in range(8)]
    image = Image.new("RGB", (8 * CELL, 8 * CELL))
    for row, column in itertools.product(range(8), range(8)):
        photo = photograph(names[row][column], split)
        side = rng.randint(min(photo.size) // 3, min(photo.size) * 2 // 3)
        left, top = rng.randint(0, photo.width - side), rng.randint(0, photo.height - side)
        part = photo.resize((CELL, CELL), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
        image.paste(part, (column * CELL, row * CELL))
    return Canvas(image, names)


def whole_photograph(rng: random.Random, split: str) -> Canvas:
    """A part of one photograph, 8 x 8 cells that all have its name."""
    name = rng.choice(PHOTOS)
    photo = photograph(name, split)
    side = rng.randint(min(photo.size) * 2 // 3, min(photo.size))
    left, top = rng.randint(0, photo.width - side), rng.randint(0, photo.height - side)
    image = photo.resize((8 * CELL, 8 * CELL), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    return Canvas(image, [[name] * 8 for _ in range(8)])


KINDS = {
    "toy scenes": Kind(scene, NAMES, (1, 2, 4)),
    "mosaics of photographs": Kind(mosaic, PHOTOS, RATIOS),
    "photographs": Kind(whole_photograph, PHOTOS, RATIOS),
}


def windows(kind: Kind, squash: bool, seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Training pairs: windows of 1 to 4 cells, (count, 3, side, side) uint8, and the index of each caption, (count,).

    The caption names one of the cells whose middle is in the window. One window in ten is letterboxed.
    """
    rng = random.Random(f"{seed}/windows")
    pixels, captions = [], []
    while len(pixels) < count:
        canvas = kind.draw(rng, TRAIN)
        cells = len(canvas.names)
        for _ in range(WINDOWS):
            extent, bars = 2 ** rng.uniform(0, 2), rng.random() < 0.1
            stretch = 2 ** rng.uniform(-1, 1) if bars else 2 ** rng.uniform(-0.5, 0.5) if squash else 1.0
            width, height = min(extent * stretch, cells), min(extent / stretch, cells)
            left, top = rng.uniform(0, cells - width), rng.uniform(0, cells - height)
            rows, columns = _middles(top, height), _middles(left, width)
            shown = [name for row in canvas.names[rows] for name in row[columns] if name]
            if not shown:
                continue
            window = canvas.image.crop(tuple(round(CELL * edge) for edge in (left, top, left + width, top + height)))
            if bars:
                window = letterboxed(window, rng.choice([(0, 0, 0), (255, 255, 255), CLIP_MEAN]))
            small = window.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
            pixels.append(torch.from_numpy(np.array(small)).permute(2, 0, 1))
            captions.append(kind.captions.index(rng.choice(shown)))
    return torch.stack(pixels[:count]), torch.tensor(captions[:count])


def _middles(start: float, extent: float) -> slice:
    """The cells whose middle lies in an interval, in cells."""
    return slice(math.ceil(start - 0.5), math.ceil(start + extent - 0.5))


def train(kind: Kind, squash: bool, seed: int, steps: int, folder: Path) -> None:
    """Train a tiny CLIP and save it with CLIP's preprocessing if it was trained on crops, with SigLIP's if squashed."""
    torch.manual_seed(seed)
    tokenizer = tiny_clip.build_processor().tokenizer
    text = tiny_clip.build_model(tokenizer).config.text_config.to_dict()
    vision = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4}
    vision |= {"image_size": SIDE, "patch_size": PATCH}
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=64)).float()
    square = {"height": SIDE, "width": SIDE}
    sizes = {"size": square, "do_center_crop": False} if squash else {"size": {"shortest_edge": SIDE}}
    processor = CLIPProcessor(CLIPImageProcessor(**sizes, crop_size=square), tokenizer)
    pixels, captions = windows(kind, squash, seed, 3000)
    words = tokenizer(list(kind.captions), padding=True, return_tensors="pt")
    stage = Stage(steps, 32, 1e-3)
    optimizer = stage.optimizer(model.parameters())
    for step in range(steps):
        stage.set_rate(optimizer, step)
        rows = torch.randint(len(pixels), (stage.batch,))
        ready = processor.image_processor(pixels[rows], do_resize=False, do_center_crop=False, return_tensors="pt")
        image = F.normalize(model.get_image_features(**ready).pooler_output, dim=-1)
        named = F.normalize(model.get_text_features(**words).pooler_output, dim=-1)
        loss = F.cross_entropy(model.logit_scale.exp().clamp(max=30) * image @ named.T, captions[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval().save_pretrained(folder)
    processor.save_pretrained(folder)


@dataclass(frozen=True)
class Strip:
    """A strip with a right and a wrong label.

    Attributes:
        image: the strip as the scorer gets it.
        ratio: of its sides.
        at_end: whether only the first or the last cell shows what the right label names.
        right: the right label.
        wrong: the wrong label.
    """

    image: Image.Image
    ratio: int
    at_end: bool
    right: str
    wrong: str


def strips(kind: Kind, seed: int, count: int, whole: bool) -> list[Strip]:
    """``count`` strips of each ratio; ``whole`` ones are no JPEGs of the size that the agent loop keeps."""
    rng = random.Random(f"{seed}/strips")
    made = []
    for ratio in kind.ratios:
        found: list[Strip] = []
        while len(found) < count:
            canvas = kind.draw(rng, TEST)
            found += filter(None, (_strip(kind, canvas, ratio, rng, whole) for _ in range(STRIPS)))
        made += found[:count]
    return made


def _strip(kind: Kind, canvas: Canvas, ratio: int, rng: random.Random, whole: bool) -> Strip | None:
    """A strip of a canvas; None where it shows nothing that has a name."""
    line, start = rng.randrange(len(canvas.names)), rng.randint(0, len(canvas.names) - ratio)
    upright = rng.random() < 0.5
    names = [list(column) for column in zip(*canvas.names, strict=True)] if upright else canvas.names
    cells = names[line][start : start + ratio]
    if not any(cells):
        return None
    box = (start * CELL, line * CELL, (start + ratio) * CELL, (line + 1) * CELL)
    box = (box[1], box[0], box[3], box[2]) if upright else box
    kept = canvas.image.crop(box)
    if not whole:
        kept = Image.open(io.BytesIO(thumbnail(kept, SIDE))).convert("RGB")
    right = rng.choice([name for name in cells if name])
    wrong = rng.choice([name for name in kind.captions if name not in cells])
    at_end = ratio > 2 and right not in cells[1:-1]
    return Strip(kept, ratio, at_end, right, wrong)


def auc(above: list[float], below: list[float]) -> float:
    """Share of all pairs in which the first number is larger; a tie is half."""
    a, b = torch.tensor(above)[:, None], torch.tensor(below)[None]
    return ((a > b).float() + 0.5 * (a == b)).mean().item()


def judge(scorer: ClipScorer, shown: list[Strip]) -> dict[str, float]:
    """AUC by ratio, of labels at the ends, and pooled."""
    rows = list(zip(shown, _scores(scorer, shown, "right"), _scores(scorer, shown, "wrong"), strict=True))

    def within(kept: list[tuple[Strip, float, float]]) -> float:
        return statistics.fmean(0.5 + 0.5 * float(np.sign(right - wrong)) for _, right, wrong in kept)

    found = {
        f"{ratio}:1": within([row for row in rows if row[0].ratio == ratio])
        for ratio in RATIOS
        if any(row[0].ratio == ratio for row in rows)
    }
    if ends := [row for row in rows if row[0].at_end]:
        found["ends"] = within(ends)
    found["pooled"] = auc([right for _, right, _ in rows], [wrong for _, _, wrong in rows])
    return found


def _scores(scorer: ClipScorer, shown: list[Strip], label: str) -> list[float]:
    batches = [shown[start : start + 128] for start in range(0, len(shown), 128)]
    return [
        score
        for batch in batches
        for score in scorer.score([getattr(each, label) for each in batch], [each.image for each in batch])
    ]


def report(what: str, found: dict[str, list[dict[str, float]]]) -> None:
    """Print the rows of a model, mean over the seeds."""
    for fit, seeds in found.items():
        means = {key: statistics.fmean(each[key] for each in seeds) for key in seeds[0]}
        cells = [f"{means[key]:.3f}" if key in means else "" for key in ("1:1", "2:1", "4:1", "8:1", "ends", "pooled")]
        print(f"| {what} | {fit} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Print a markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--strips", type=int, default=200, help="of each ratio")
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=[*KINDS])
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--toy-clip", type=Path, help="the CLIP that `verl-mapo toy` made")
    options = parser.parse_args()
    disable_progress_bar()
    torch.set_num_threads(1)
    print(
        "| crops, model | fit | 1:1 | 2:1 | 4:1 | 8:1 | label of an end | pooled |\n|---|---|---|---|---|---|---|---|"
    )
    for name in options.kinds:
        kind = KINDS[name]
        for squash in (False, True):
            found: dict[str, list[dict[str, float]]] = {fit: [] for fit in FITS}
            for seed in range(options.seeds):
                with tempfile.TemporaryDirectory() as folder:
                    train(kind, squash, seed, options.steps, Path(folder))
                    shown = strips(kind, seed, options.strips, options.whole)
                    for fit in FITS:
                        settings = ScorerSettings(model=folder, device="cpu", fit=fit)
                        found[fit].append(judge(build_scorer(settings), shown))
            report(f"{name}, {'squashed' if squash else 'cropped'}", found)
    if options.toy_clip:
        shown = strips(KINDS["toy scenes"], 0, options.strips, options.whole)
        settings = {"model": str(options.toy_clip), "device": "cpu"}
        report(
            "toy scenes, the toy's own CLIP",
            {fit: [judge(build_scorer(ScorerSettings(**settings, fit=fit)), shown)] for fit in FITS},
        )


if __name__ == "__main__":
    main()
