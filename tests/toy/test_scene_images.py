# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Scenes and crops are those of the task, and the linear patch embedding equals the convolution."""

from __future__ import annotations

import torch

from verl_mapo.toy.scene_images import EMPTY_CELLS, linear_patches, tower_features
from verl_mapo.toy.visual_search import OBJECTS


def test_crops_are_those_of_the_objects_and_then_of_empty_cells(start):
    images, writer = start.images, start.writer
    assert images.crops.shape[:2] == (6, OBJECTS + EMPTY_CELLS)
    for index in range(6):
        scene = start.task.scene(0, "warm_start", index)
        assert images.objects[index] == scene.objects and set(images.empty_cells[index]) <= set(scene.empty_cells)
        cells = [each.cell for each in scene.objects] + images.empty_cells[index]
        assert [images.crop_index(index, cell) for cell in cells] == list(range(OBJECTS + EMPTY_CELLS))
        crop = writer.zoom_at(writer.image_history(scene.image), cells[-1]).image
        assert images.crops[index, -1].permute(1, 2, 0).numpy().tobytes() == crop.tobytes()


def test_linear_patches_equal_the_convolution(start):
    tower, pixels = start.model.model.visual, start.images.scenes[:2]
    with torch.no_grad():
        plain = tower_features(start.model, start.writer, pixels)
        with linear_patches(tower):
            assert torch.allclose(tower_features(start.model, start.writer, pixels), plain, atol=1e-4)
    assert "forward" not in vars(tower.patch_embed)
