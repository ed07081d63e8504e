# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Loading of images, and the size at which a processor sees them."""

from __future__ import annotations

import asyncio
import gc
import io

import pytest
from PIL import Image

from verl_mapo.rollout.images import ImageStore, ProcessorResize, UnreadableImage, pixel_limits, thumbnail

RESIZE = ProcessorResize(28, (4 * 28 * 28, 64 * 28 * 28))


@pytest.mark.parametrize("size", [(1, 1), (448, 300), (3000, 20), (20, 3000), (5000, 4000)])
def test_resized_size_is_not_resized_again(size):
    seen = RESIZE(size)
    assert RESIZE(seen) == seen and all(side % 28 == 0 for side in seen)


def test_equal_resizes_are_one_key():
    same = ProcessorResize(28, (4 * 28 * 28, 64 * 28 * 28))
    assert same == RESIZE and hash(same) == hash(RESIZE) and ProcessorResize(32, RESIZE.limits) != RESIZE


def test_limits_are_the_processors_unless_the_run_sets_its_own(tiny_models):
    processor = tiny_models["qwen2_5_vl"].processor.image_processor
    fewest, most = pixel_limits(processor, {}, None)
    assert (fewest, most) == (processor.size["shortest_edge"], processor.size["longest_edge"])
    assert pixel_limits(processor, {"min_pixels": 5, "max_pixels": 70}, None) == (5, 70)
    assert pixel_limits(processor, {"max_pixels": 70}, 60)[1] == 60 and pixel_limits(processor, {}, 10**9)[1] == most


def test_thumbnail_is_a_jpeg_no_larger_than_asked():
    image = Image.new("RGB", (100, 1))
    assert Image.open(io.BytesIO(thumbnail(image, 10))).size == (10, 1)
    assert Image.open(io.BytesIO(thumbnail(image, 200))).size == (100, 1)


def test_store_keeps_an_image_only_while_it_is_used(picture):
    store = ImageStore()

    async def share():
        same = ProcessorResize(RESIZE.factor, RESIZE.limits)
        first, second = await asyncio.gather(store.open(picture, 0, RESIZE), store.open(picture, 0, same))
        return first is second, await store.open(picture, 1, RESIZE) is first

    assert asyncio.run(share()) == (True, False)
    gc.collect()
    assert not list(store._images) and not store._pending


def test_decoded_image_is_accepted_in_place_of_a_path():
    image = asyncio.run(ImageStore().open(Image.new("L", (70, 90)), 2, RESIZE))
    assert image.view.image == 2 and image.pixels.mode == "RGB" and image.pixels.size == (70, 90)


@pytest.mark.parametrize("shape", ["missing", "thin"])
def test_image_that_cannot_be_shown_raises(tmp_path, shape):
    path = tmp_path / "picture.png"
    if shape == "thin":
        Image.new("RGB", (1, 500)).save(path)
    with pytest.raises(UnreadableImage, match="picture.png"):
        asyncio.run(ImageStore().open(str(path), 0, RESIZE))
