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
"""First stage of a warm start: the vision tower alone, taught to say what is where in the language model's words."""

from __future__ import annotations

import random

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm
from transformers import PreTrainedModel

from verl_mapo.toy.album import Album, linear_patches, look
from verl_mapo.toy.dialogue import Script
from verl_mapo.toy.language import Pace
from verl_mapo.toy.visual_search import GRID, LETTERS, NAMES, OBJECTS

CELLS = GRID * GRID
CROPS_A_SCENE = 10
"""Crops in a step for every scene in it: letters are harder than names."""


class Heads(nn.Module):
    """Linear readings of image tokens; names and letters are read with the language model's own word embeddings."""

    def __init__(self, words: nn.Embedding, script: Script):
        super().__init__()
        width = words.embedding_dim
        self.words = words
        self.cell = nn.Linear(width, CELLS)
        self.nothing = nn.Parameter(torch.randn(1, width) * 0.1)
        encode = script.processor.tokenizer.encode
        self.colours, self.shapes = torch.tensor([encode(" " + name) for name in NAMES]).unbind(1)
        self.letters = torch.tensor([encode(letter)[0] for letter in LETTERS])

    def name(self, tokens: Tensor) -> Tensor:
        """Logits over the names and "nothing", the last."""
        return tokens @ torch.cat([self.words(self.colours) + self.words(self.shapes), self.nothing]).T

    def letter(self, tokens: Tensor) -> Tensor:
        return tokens @ self.words(self.letters).T


def train_tower(model: PreTrainedModel, script: Script, album: Album, pace: Pace, seed: int) -> None:
    """Every token of a scene: the name in its cell, and which cell it is; the middle token of a crop: the letter.

    Args:
        pace: its batch counts scenes.
    """
    rng = random.Random(seed)
    torch.manual_seed(seed)
    tower, width = model.model.visual.train(), model.config.text_config.hidden_size
    heads = Heads(model.get_input_embeddings(), script)
    weights = [*tower.parameters(), *heads.parameters()]
    optimizer = pace.optimizer(weights)
    weight = torch.tensor([1.0] * len(NAMES) + [0.3])
    bar = tqdm(range(pace.steps), desc="vision tower", unit="step")
    with linear_patches(tower):
        for step in bar:
            pace.set(optimizer, step)
            scenes = rng.choices(range(len(album.things)), k=pace.batch)
            others = rng.choices(range(len(album.things)), k=CROPS_A_SCENE * pace.batch)
            picks = [(scene, rng.randrange(OBJECTS)) for scene in others]
            seen = look(model, script, album.seen[scenes])[..., :width].flatten(0, 1)
            crops = look(model, script, torch.stack([album.crops[pick] for pick in picks]))[..., :width]
            names = torch.tensor([_names(album, scene) for scene in scenes]).flatten()
            letters = torch.tensor([LETTERS.index(album.things[scene][slot].letter) for scene, slot in picks])
            read = heads.letter(crops[:, crops.shape[1] // 2])
            named = heads.name(seen)
            loss = F.cross_entropy(named, names, weight=weight) + F.cross_entropy(read, letters)
            loss = loss + 0.5 * F.cross_entropy(heads.cell(seen), torch.arange(CELLS).repeat(pace.batch))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            if step % 10 == 9:
                found = (named.argmax(-1) == names)[names < len(NAMES)].float().mean()
                bar.set_postfix(names=f"{found:.2f}", letters=f"{(read.argmax(-1) == letters).float().mean():.2f}")


def _names(album: Album, scene: int) -> list[int]:
    names = [len(NAMES)] * CELLS
    for thing in album.things[scene]:
        names[thing.cell] = NAMES.index(thing.name)
    return names
