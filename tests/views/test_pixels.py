# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Changed pixels, in the pictures that the processors of both families make patches of."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFilter
from torchvision.transforms.functional import gaussian_blur

from verl_mapo.views.pixels import PatchLayout, ViewSettings, changed_pixels, to_patches, to_picture

SIDES = ((3, 2), (2, 4))
"""Height and width of two pictures, in tokens."""


@pytest.fixture
def layout(model):
    return PatchLayout.of(model.processor.image_processor)


def pictures_of(layout: PatchLayout) -> list[Image.Image]:
    side, draw = layout.patch * layout.merged, np.random.default_rng(0)
    return [Image.fromarray(draw.integers(0, 256, (h * side, w * side, 3), dtype=np.uint8)) for h, w in SIDES]


def features_of(model, pictures: list[Image.Image]) -> tuple[torch.Tensor, torch.Tensor]:
    made = model.processor.image_processor(images=pictures, do_resize=False, return_tensors="pt")
    return made["pixel_values"], made["image_grid_thw"]


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def shown(patches: torch.Tensor, grid: torch.Tensor, layout: PatchLayout) -> np.ndarray:
    """(height, width, 3) in [0, 255], of the first frame of an image; both frames are the same."""
    picture = to_picture(patches, tuple(grid.tolist()), layout)
    assert torch.equal(picture[0], picture[1])
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (layout.mean, layout.std))
    return ((picture[0] * std + mean) * 255).permute(1, 2, 0).numpy()


def test_patches_and_picture_are_the_same_pixels(model, layout):
    pictures = pictures_of(layout)
    pixels, grids = features_of(model, pictures)
    for patches, grid, picture in zip(pixels.split(grids.prod(1).tolist()), grids, pictures, strict=True):
        assert np.allclose(shown(patches, grid, layout), np.asarray(picture), atol=1e-2)
        made = to_picture(patches, tuple(grid.tolist()), layout)
        assert torch.equal(to_patches(made, tuple(grid.tolist()), layout), patches)


@pytest.mark.parametrize("side", [14, 10])
def test_squares_are_black_and_the_rest_is_as_it_was(model, layout, side):
    pictures = pictures_of(layout)
    pixels, grids = features_of(model, pictures)
    changed = changed_pixels(pixels, grids, layout, ViewSettings(side=side), draw())
    generator = draw()
    for patches, grid, picture in zip(changed.split(grids.prod(1).tolist()), grids, pictures, strict=True):
        values = np.asarray(picture).copy()
        rows, columns = (-(-length // side) for length in values.shape[:2])
        gone = torch.rand(rows, columns, generator=generator) < 0.5
        for row in range(rows):
            for column in range(columns):
                if gone[row, column]:
                    values[row * side : (row + 1) * side, column * side : (column + 1) * side] = 0
        assert np.allclose(shown(patches, grid, layout), values, atol=1e-2)
        assert 0 < gone.sum() < gone.numel()


def test_blur_is_that_of_a_gaussian_filter(model, layout):
    """Pillow's filter approximates a Gaussian by boxes; away from the border they agree to a grey level or two."""
    (picture, *_) = pictures_of(layout)
    pixels, grids = features_of(model, [picture])
    changed = shown(changed_pixels(pixels, grids, layout, ViewSettings("blur", sigma=3), draw()), grids[0], layout)
    expected = np.asarray(picture.filter(ImageFilter.GaussianBlur(3))).astype(float)
    assert np.abs(changed - expected)[10:-10, 10:-10].max() < 6 < np.abs(changed - np.asarray(picture)).max()


def test_blur_is_that_of_a_kernel_of_both_axes(model, layout):
    pixels, grids = features_of(model, pictures_of(layout))
    changed = changed_pixels(pixels, grids, layout, ViewSettings("blur", sigma=4), draw())
    sizes = grids.prod(1).tolist()
    for patches, blurred, grid in zip(pixels.split(sizes), changed.split(sizes), grids.tolist(), strict=True):
        picture, found = (to_picture(each, tuple(grid), layout) for each in (patches, blurred))
        torch.testing.assert_close(found, gaussian_blur(picture, [25, 25], [4.0, 4.0]), rtol=0, atol=1e-5)


def test_blur_wider_than_a_picture_leaves_its_mean(model, layout):
    pixels, grids = features_of(model, pictures_of(layout))
    changed = changed_pixels(pixels, grids, layout, ViewSettings("blur", sigma=1000), draw())
    assert changed.shape == pixels.shape and changed.std() < pixels.std() / 10


def test_noise_has_its_size_and_stays_between_black_and_white(model, layout):
    grey = [Image.new("RGB", picture.size, (128, 128, 128)) for picture in pictures_of(layout)]
    pixels, grids = features_of(model, grey)
    changed = changed_pixels(pixels, grids, layout, ViewSettings("noise", noise=0.1), draw())
    values = np.concatenate(
        [
            shown(patches, grid, layout).ravel()
            for patches, grid in zip(changed.split(grids.prod(1).tolist()), grids, strict=True)
        ]
    )
    assert values.std() == pytest.approx(25.5, rel=0.03) and values.mean() == pytest.approx(128, abs=1)
    wild = changed_pixels(pixels, grids, layout, ViewSettings("noise", noise=9), draw())
    assert shown(wild[: grids[0].prod()], grids[0], layout).min() >= -1e-2
    assert shown(wild[: grids[0].prod()], grids[0], layout).max() <= 255.01


@given(st.integers(1, 40), st.sampled_from(["squares", "noise", "blur"]), st.integers(0, 3))
def test_change_is_drawn_from_the_generator_alone(side, change, seed):
    layout = PatchLayout(14, 2, 2, (0.5,) * 3, (0.5,) * 3)
    grids = torch.tensor([[1, 2, 4], [1, 4, 2]])
    pixels = torch.randn(16, 3 * 2 * 14 * 14, generator=draw(9)).to(torch.bfloat16)
    view = ViewSettings(change, side=side, sigma=2)
    first, second = (changed_pixels(pixels, grids, layout, view, draw(seed)) for _ in range(2))
    assert torch.equal(first, second) and first.dtype == pixels.dtype
    if change == "noise":
        assert not torch.equal(first, changed_pixels(pixels, grids, layout, view, draw(seed + 1)))


def test_share_of_0_changes_nothing_and_of_1_leaves_nothing(model, layout):
    pixels, grids = features_of(model, pictures_of(layout))
    assert torch.equal(changed_pixels(pixels, grids, layout, ViewSettings(share=0), draw()), pixels)
    black, _ = features_of(model, [Image.new("RGB", picture.size) for picture in pictures_of(layout)])
    torch.testing.assert_close(changed_pixels(pixels, grids, layout, ViewSettings(share=1), draw()), black)
