# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""First stage of a warm start: the vision tower alone learns to name objects, cells and letters.

Names and letters are read with the language model's word embeddings, so that the tower's output suits that model.
"""

from __future__ import annotations

import random

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm
from transformers import PreTrainedModel

from verl_mapo.toy.dialogue import DialogueWriter
from verl_mapo.toy.language import Stage
from verl_mapo.toy.scene_images import SceneImages, linear_patches, tower_features
from verl_mapo.toy.visual_search import GRID, LETTERS, NAMES, OBJECTS

CELLS = GRID * GRID
CROPS_A_SCENE = 10
"""Number of crops in a step for each of its scenes; letters are harder to learn than names."""


class Heads(nn.Module):
    """Linear classifiers of image tokens (..., width): the object's name, the cell, and the letter.

    Args:
        words: the language model's word embeddings, which are the weights of the classes for names and letters.
        writer: holds the tokenizer.
    """

    def __init__(self, words: nn.Embedding, writer: DialogueWriter):
        super().__init__()
        width = words.embedding_dim
        self.words = words
        self.cell = nn.Linear(width, CELLS)
        self.nothing = nn.Parameter(torch.randn(1, width) * 0.1)
        encode = writer.processor.tokenizer.encode
        self.colours, self.shapes = torch.tensor([encode(" " + name) for name in NAMES]).unbind(1)
        self.letters = torch.tensor([encode(letter)[0] for letter in LETTERS])

    def name(self, tokens: Tensor) -> Tensor:
        """Logits over the names, and over "nothing" as the last class."""
        return tokens @ torch.cat([self.words(self.colours) + self.words(self.shapes), self.nothing]).T

    def letter(self, tokens: Tensor) -> Tensor:
        """Logits over the letters."""
        return tokens @ self.words(self.letters).T


def train_tower(model: PreTrainedModel, writer: DialogueWriter, images: SceneImages, stage: Stage, seed: int) -> None:
    """Train the vision tower.

    Every token of a scene predicts the name of the object in its cell, and the cell itself. The middle token of a crop
    predicts the letter.

    Args:
        model: the vision-language model.
        writer: holds tokenizer and image processor.
        images: scenes and crops.
        stage: steps, batch size (in scenes) and learning rate.
        seed: seed of the classifiers and of the order of the scenes.
    """
    rng = random.Random(seed)
    torch.manual_seed(seed)
    tower, width = model.model.visual.train(), model.config.text_config.hidden_size
    heads = Heads(model.get_input_embeddings(), writer)
    weights = [*tower.parameters(), *heads.parameters()]
    optimizer = stage.optimizer(weights)
    weight = torch.tensor([1.0] * len(NAMES) + [0.3])
    bar = tqdm(range(stage.steps), desc="vision tower", unit="step")
    with linear_patches(tower):
        for step in bar:
            stage.set_rate(optimizer, step)
            scenes = rng.choices(range(len(images.objects)), k=stage.batch)
            others = rng.choices(range(len(images.objects)), k=CROPS_A_SCENE * stage.batch)
            picks = [(scene, rng.randrange(OBJECTS)) for scene in others]
            tokens = tower_features(model, writer, images.scenes[scenes])[..., :width].flatten(0, 1)
            crops = tower_features(model, writer, torch.stack([images.crops[pick] for pick in picks]))[..., :width]
            names = torch.tensor([_names(images, scene) for scene in scenes]).flatten()
            letters = torch.tensor([LETTERS.index(images.objects[scene][crop].letter) for scene, crop in picks])
            read = heads.letter(crops[:, crops.shape[1] // 2])
            named = heads.name(tokens)
            loss = F.cross_entropy(named, names, weight=weight) + F.cross_entropy(read, letters)
            loss = loss + 0.5 * F.cross_entropy(heads.cell(tokens), torch.arange(CELLS).repeat(stage.batch))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            if step % 10 == 9:
                found = (named.argmax(-1) == names)[names < len(NAMES)].float().mean()
                bar.set_postfix(names=f"{found:.2f}", letters=f"{(read.argmax(-1) == letters).float().mean():.2f}")


def _names(images: SceneImages, scene: int) -> list[int]:
    """Index of the object's name in each cell of a scene; ``len(NAMES)`` in empty cells."""
    names = [len(NAMES)] * CELLS
    for each in images.objects[scene]:
        names[each.cell] = NAMES.index(each.name)
    return names
