# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""A tiny CLIP that scores whether a crop shows the object that a label names.

It is made of transformers' own classes and trained from scratch on crops and captions of the task.
"""

from __future__ import annotations

import json
import math
import random
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import Tensor
from tqdm import tqdm
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizer

from verl_mapo.toy.language import Stage
from verl_mapo.toy.tiny_vlm import save_weights
from verl_mapo.toy.visual_search import CELL, GRID, NAMES, SIDE, Scene, VisualSearch
from verl_mapo.toy.warm_start import one_thread

CAPTIONS = (*NAMES, "empty background")
"""Every caption of a crop."""
_SIDE, _PATCH, _TEXT = 56, 14, 32
"""Side of an image and of a patch in pixels; length of the longest text in tokens."""
_PAIRS_A_SCENE = 8


@dataclass(frozen=True)
class ClipRecipe:
    """Settings of the training.

    Attributes:
        scenes: number of scenes that crops are cut from.
        stage: steps, batch size (in crops) and learning rate.
    """

    scenes: int
    stage: Stage


CLIPS = {"smoke": ClipRecipe(150, Stage(150, 64, 1e-3)), "full": ClipRecipe(1200, Stage(700, 64, 1e-3))}
"""Training of each size of the toy."""


def train_clip(task: VisualSearch, recipe: ClipRecipe, seed: int, out: Path) -> None:
    """Train on crops and captions of the ``clip`` split; AutoModel and AutoProcessor load the resulting folder.

    Args:
        task: settings of the scenes.
        recipe: settings of the training.
        seed: seed of scenes, weights and order.
        out: folder to write to.
    """
    processor = build_processor()
    torch.manual_seed(seed)
    model = build_model(processor.tokenizer)
    with one_thread():
        images, captions = draw_pairs(task, processor, seed, recipe.scenes)
        _fit(model, processor, images, captions, recipe.stage, random.Random(seed))
    save_weights(model.eval(), out)
    processor.save_pretrained(out)


def build_processor() -> CLIPProcessor:
    """CLIP's tokenizer with the words of the task (other text becomes bytes); images are resized to a square."""
    blank = CLIPTokenizer()
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learner.pre_tokenizer = blank.backend_tokenizer.pre_tokenizer
    trainer = trainers.BpeTrainer(vocab_size=1024, end_of_word_suffix="</w>", show_progress=False)
    learner.train_from_iterator(CAPTIONS, trainer)
    merges = [tuple(merge) for merge in json.loads(learner.to_str())["model"]["merges"]]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*letters, *(letter + "</w>" for letter in letters), *("".join(merge) for merge in merges)]
    words += [blank.bos_token, blank.eos_token]
    vocabulary = {word: index for index, word in enumerate(dict.fromkeys(words))}
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=_TEXT)
    size, half = {"height": _SIDE, "width": _SIDE}, [0.5] * 3
    images = CLIPImageProcessor(size=size, do_center_crop=False, image_mean=half, image_std=half)
    return CLIPProcessor(images, tokenizer)


def build_model(tokenizer: CLIPTokenizer) -> CLIPModel:
    """A CLIP of 0.6 million random float32 parameters."""
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": _TEXT,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = {
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "image_size": _SIDE,
        "patch_size": _PATCH,
    }
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=64)).float()


def draw_pairs(task: VisualSearch, processor: CLIPProcessor, seed: int, scenes: int) -> tuple[Tensor, Tensor]:
    """Draw crops with captions.

    Args:
        task: settings of the scenes.
        processor: the model's processor.
        seed: seed of scenes and boxes.
        scenes: number of scenes.

    Returns:
        (pairs, 3, side, side) float32 crops, preprocessed; (pairs,) int64, the index of each crop's caption.
    """
    crops: list[Image.Image] = []
    captions = []
    for index in tqdm(range(scenes), desc="drawing crops", unit="scene"):
        scene, rng = task.scene(seed, "clip", index), random.Random(f"{seed}/pairs/{index}")
        for _ in range(_PAIRS_A_SCENE):
            caption, box = _pair(scene, rng)
            captions.append(CAPTIONS.index(caption))
            crops.append(scene.image.crop(box).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC))
    pixels = processor.image_processor(crops, return_tensors="pt")["pixel_values"]
    return pixels, torch.tensor(captions)


def similarities(model: CLIPModel, processor: CLIPProcessor, pixels: Tensor, texts: list[str]) -> Tensor:
    """Cosine similarities of images and texts, (images, texts) float32.

    Args:
        model: the CLIP model.
        processor: its processor.
        pixels: (images, 3, side, side) float32, preprocessed.
        texts: the texts.
    """
    words = processor.tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    text = F.normalize(model.get_text_features(**words).pooler_output, dim=-1)
    image = F.normalize(model.get_image_features(pixel_values=pixels).pooler_output, dim=-1)
    return image @ text.T


def _pair(scene: Scene, rng: random.Random) -> tuple[str, tuple[int, int, int, int]]:
    """A caption and a box in pixels of the scene.

    The box is around an object, sometimes enlarged or shifted, or around an empty cell.
    """
    empty = rng.random() < 0.12
    target = rng.choice(scene.objects)
    cell = rng.choice(scene.empty_cells) if empty else target.cell
    left, top = cell % GRID * CELL, cell // GRID * CELL
    margin = rng.randint(4, 18)
    box = [left + margin, top + margin, left + CELL - margin, top + CELL - margin]
    if empty:
        return CAPTIONS[-1], tuple(box)
    if rng.random() < 0.35:
        moves = [-rng.choice([0, 0, 28, 56]), -rng.choice([0, 0, 28, 56]), *(rng.choice([0, 0, 28, 56]) for _ in "xy")]
        box = [min(SIDE, max(0, edge + move)) for edge, move in zip(box, moves, strict=True)]
    return target.name, tuple(box)


def _fit(
    model: CLIPModel, processor: CLIPProcessor, images: Tensor, captions: Tensor, stage: Stage, rng: random.Random
) -> None:
    """Train with the contrastive loss in both directions; every image of the batch with the same caption is a match."""
    optimizer = stage.optimizer(model.parameters())
    model.train()
    bar = tqdm(range(stage.steps), desc="tiny CLIP", unit="step")
    for step in bar:
        stage.set_rate(optimizer, step)
        rows = rng.sample(range(len(images)), stage.batch)
        targets = captions[rows]
        scale = model.logit_scale.exp().clamp(max=30)
        logits = scale * similarities(model, processor, images[rows], list(CAPTIONS))
        hits = targets[:, None] == torch.arange(len(CAPTIONS))
        present = hits.any(0)
        own = logits.masked_fill(~hits, -math.inf)[:, present].logsumexp(0) - logits[:, present].logsumexp(0)
        loss = (F.cross_entropy(logits, targets) - own.mean()) / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 10 == 9:
            bar.set_postfix(right=f"{(logits.argmax(1) == targets).float().mean():.2f}")
