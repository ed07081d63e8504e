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
"""The pictures of a warm start: scenes and demonstrated crops as the model sees them, and their cached features."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import MethodType

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm
from transformers import PreTrainedModel

from verl_mapo.toy.dialogue import Script
from verl_mapo.toy.visual_search import SceneObject, VisualSearch

EMPTY_CELLS = 2
"""Empty cells of each scene that demonstrations may look at."""


@dataclass
class Album:
    """Scenes of the ``warm_start`` split; crops are those of the objects' cells, then of the empty cells.

    Attributes:
        things: objects of each scene.
        empty: empty cells of each scene.
        seen: (scenes, 3, side, side) uint8, the scenes as seen.
        crops: (scenes, objects + empty, 3, side, side) uint8, the demonstrated crops as seen.
    """

    things: list[tuple[SceneObject, ...]]
    empty: list[list[int]]
    seen: Tensor
    crops: Tensor

    @classmethod
    def draw(cls, task: VisualSearch, script: Script, seed: int, count: int) -> Album:
        """Draw ``count`` scenes and cut their crops, about 10 ms a scene."""
        things, empty, seen, crops = [], [], [], []
        for index in tqdm(range(count), desc="drawing scenes", unit="scene"):
            scene = task.scene(seed, "warm_start", index)
            gallery = script.gallery(scene.image)
            things.append(scene.objects)
            empty.append(random.Random(index).sample(scene.empty_cells, EMPTY_CELLS))
            seen.append(_pixels(gallery.images[0]))
            cells = [thing.cell for thing in scene.objects] + empty[-1]
            crops.append(torch.stack([_pixels(script.look(gallery, cell).image) for cell in cells]))
        return cls(things, empty, torch.stack(seen), torch.stack(crops))

    def slot(self, scene: int, cell: int) -> int:
        """Where the crop of a cell lies along the second axis of :attr:`crops`."""
        return ([thing.cell for thing in self.things[scene]] + self.empty[scene]).index(cell)


@dataclass
class Features:
    """What a frozen tower makes of an album: (scenes, tokens, channels) and (scenes, slots, tokens, channels)."""

    seen: Tensor
    crops: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, album: Album, model: PreTrainedModel, script: Script) -> Features:
        """Run the tower once over an album."""
        pictures = [*album.seen.split(64), *album.crops.flatten(0, 1).split(64)]
        with linear_patches(model.model.visual):
            done = [look(model, script, part) for part in tqdm(pictures, desc="caching features", unit="batch")]
        scenes = len(album.seen.split(64))
        return cls(torch.cat(done[:scenes]), torch.cat(done[scenes:]).unflatten(0, album.crops.shape[:2]))


def look(model: PreTrainedModel, script: Script, pixels: Tensor) -> Tensor:
    """What the vision tower gives the language model for images of one size.

    Args:
        pixels: (images, 3, side, side) uint8.

    Returns:
        (images, tokens, channels) float32; the channels are the token's embedding and, for a tower with DeepStack,
        what is added to the language model's first layers, concatenated.
    """
    inputs = script.processor.image_processor(images=pixels, do_resize=False, return_tensors="pt")
    output = model.model.visual(inputs["pixel_values"], grid_thw=inputs["image_grid_thw"])
    channels = [output.pooler_output, *output.get("deepstack_features", ())]
    return torch.cat(channels, dim=-1).unflatten(0, (len(pixels), -1))


@contextmanager
def linear_patches(tower: nn.Module) -> Iterator[None]:
    """Inside, the patch embedding of this tower is computed as the matrix product that it is: on a CPU the convolution
    costs a third of a step."""
    embed = tower.patch_embed

    def forward(self: nn.Module, patches: Tensor) -> Tensor:
        return F.linear(patches, self.proj.weight.flatten(1), self.proj.bias)

    embed.forward = MethodType(forward, embed)
    try:
        yield
    finally:
        del embed.forward


def _pixels(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)
