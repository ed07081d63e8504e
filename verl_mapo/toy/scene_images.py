# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Images of the warm start: scenes and demonstrated crops as the model sees them, and their cached features."""

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

from verl_mapo.toy.dialogue import DialogueWriter
from verl_mapo.toy.visual_search import SceneObject, VisualSearch

EMPTY_CELLS = 2
"""Number of empty cells in each scene that a demonstration may zoom into."""


@dataclass
class SceneImages:
    """Scenes of the ``warm_start`` split with their crops: first of the objects' cells, then of the empty cells.

    Attributes:
        objects: objects of each scene.
        empty_cells: :data:`EMPTY_CELLS` empty cells of each scene.
        scenes: (scenes, 3, side, side) uint8, the scenes as seen.
        crops: (scenes, objects + empty cells, 3, side, side) uint8, the demonstrated crops as seen.
    """

    objects: list[tuple[SceneObject, ...]]
    empty_cells: list[list[int]]
    scenes: Tensor
    crops: Tensor

    @classmethod
    def draw(cls, task: VisualSearch, writer: DialogueWriter, seed: int, count: int) -> SceneImages:
        """Draw scenes and cut their crops, in about 10 ms a scene.

        Args:
            task: settings of the scenes.
            writer: decides the sizes at which the model sees scenes and crops.
            seed: seed of the scenes.
            count: number of scenes.
        """
        objects, empty_cells, scenes, crops = [], [], [], []
        for index in tqdm(range(count), desc="drawing scenes", unit="scene"):
            scene = task.scene(seed, "warm_start", index)
            history = writer.image_history(scene.image)
            objects.append(scene.objects)
            empty_cells.append(random.Random(index).sample(scene.empty_cells, EMPTY_CELLS))
            scenes.append(_pixels(history.images[0]))
            cells = [each.cell for each in scene.objects] + empty_cells[-1]
            crops.append(torch.stack([_pixels(writer.zoom_at(history, cell).image) for cell in cells]))
        return cls(objects, empty_cells, torch.stack(scenes), torch.stack(crops))

    def crop_index(self, scene: int, cell: int) -> int:
        """Index of a cell's crop along the second axis of :attr:`crops`."""
        return ([each.cell for each in self.objects[scene]] + self.empty_cells[scene]).index(cell)


@dataclass
class SceneFeatures:
    """Output of a frozen vision tower for a :class:`SceneImages`.

    Attributes:
        scenes: (scenes, tokens, channels) float32.
        crops: (scenes, objects + empty cells, tokens, channels) float32.
    """

    scenes: Tensor
    crops: Tensor

    @classmethod
    @torch.no_grad()
    def compute(cls, images: SceneImages, model: PreTrainedModel, writer: DialogueWriter) -> SceneFeatures:
        """Run the tower once on every image.

        Args:
            images: the images.
            model: the vision-language model.
            writer: holds the model's image processor.
        """
        batches = [*images.scenes.split(64), *images.crops.flatten(0, 1).split(64)]
        with linear_patches(model.model.visual):
            done = [
                tower_features(model, writer, part) for part in tqdm(batches, desc="caching features", unit="batch")
            ]
        scenes = len(images.scenes.split(64))
        return cls(torch.cat(done[:scenes]), torch.cat(done[scenes:]).unflatten(0, images.crops.shape[:2]))


def tower_features(model: PreTrainedModel, writer: DialogueWriter, pixels: Tensor) -> Tensor:
    """The vision tower's output for images of one size, as the language model takes it.

    Args:
        model: the vision-language model.
        writer: holds the model's image processor.
        pixels: (images, 3, side, side) uint8.

    Returns:
        (images, tokens, channels) float32. The channels are the token's embedding and, for a tower with DeepStack, the
        vectors that are added in the language model's first layers, concatenated.
    """
    inputs = writer.processor.image_processor(images=pixels, do_resize=False, return_tensors="pt")
    output = model.model.visual(inputs["pixel_values"], grid_thw=inputs["image_grid_thw"])
    channels = [output.pooler_output, *output.get("deepstack_features", ())]
    return torch.cat(channels, dim=-1).unflatten(0, (len(pixels), -1))


@contextmanager
def linear_patches(tower: nn.Module) -> Iterator[None]:
    """Compute the tower's patch embedding as a matrix product instead of a convolution while the context is open.

    The result is the same. On a CPU the convolution takes a third of a training step.
    """
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
