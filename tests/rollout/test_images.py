# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Loading of images, and the size at which a processor sees them."""

from __future__ import annotations

import asyncio
import gc
import io
import itertools
import math
import random
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf
from PIL import Image
from support.pictures import data_uri, encoded
from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor, smart_resize

from verl_mapo.rollout.images import (
    MOST_PIXELS,
    ImageStore,
    ProcessorResize,
    UnreadableImage,
    pixel_limits,
    processor_kwargs,
    processor_resizes,
    thumbnail,
    too_thin,
)
from verl_mapo.rollout.row_pictures import AskedSize, Picture
from verl_mapo.rollout.settings import VisualToolSettings
from verl_mapo.settings import ConfigError
from verl_mapo.tools.coordinates import BoxError

RESIZE = ProcessorResize(28, (4 * 28 * 28, 64 * 28 * 28))

RELEASED = {
    "qwen2_5_vl": (14, {"shortest_edge": 3136, "longest_edge": 12845056}),
    "qwen3_vl": (16, {"shortest_edge": 65536, "longest_edge": 16777216}),
}
"""Patch size and limits of the released models."""


@pytest.fixture(params=RELEASED)
def released(request) -> Qwen2VLImageProcessor:
    patch_size, size = RELEASED[request.param]
    return Qwen2VLImageProcessor(patch_size=patch_size, merge_size=2, size=dict(size))


def sizes(rng: random.Random, number: int) -> list[tuple[int, int]]:
    """Sizes of 1 to 16,000 pixels a side, a third of them with a ratio of sides from 150 to 200."""
    found = []
    while len(found) < number:
        size = round(10 ** rng.uniform(0, 4.2)), round(10 ** rng.uniform(0, 4.2))
        if rng.random() < 0.33:
            size = min(size), round(min(size) * rng.uniform(150, 200))
        if not too_thin(size):
            found.append(rng.choice((size, size[::-1])))
    return found


@pytest.mark.parametrize("size", [(1, 1), (448, 300), (3000, 20), (20, 3000), (5000, 4000)])
def test_resized_size_is_not_resized_again(size):
    seen = RESIZE(size)
    assert RESIZE(seen) == seen and all(side % 28 == 0 for side in seen)


def test_released_processors_keep_every_size_that_is_shown(released):
    resize, _ = processor_resizes(VisualToolSettings(), released, {})
    limits = released.size["shortest_edge"], released.size["longest_edge"]
    same = 0
    for size in sizes(random.Random(0), 3000):
        width, height = resize(size)
        assert smart_resize(height, width, resize.factor, *limits) == (height, width)
        same += smart_resize(*size[::-1], resize.factor, *limits) == (height, width)
    assert same > 2000, "elsewhere the processor itself would refuse its own result, or resize it again"


@pytest.mark.parametrize("ratio", [173, 174, 180, 195, 200])
def test_thin_image_has_a_size_that_the_processor_takes(released, ratio):
    resize, _ = processor_resizes(VisualToolSettings(), released, {})
    for short in (*range(1, 60), 100, 1000):
        for size in ((short, ratio * short), (ratio * short, short)):
            width, height = resize(size)
            assert resize.keeps((width, height)) and (width < height) == (size[0] < size[1])
            assert short < resize.factor or 1 / 2 < (width / height) / (size[0] / size[1]) < 2


def test_image_that_the_processor_refuses_has_no_size():
    with pytest.raises(BoxError, match="the sides of 1 x 201 pixels have a ratio over 200"):
        RESIZE((1, 201))


_CAPS = (None, 1280, 3136, 50176, 65536, 65537, 100352, 131072, 1003520)
_KWARGS = (
    {},
    {"min_pixels": 3136, "max_pixels": 100352},
    {"min_pixels": 100352, "max_pixels": 100352},
    {"min_pixels": 200704, "max_pixels": 100352},
    {"size": {"shortest_edge": 3136, "longest_edge": 401408}},
    {"size": {"shortest_edge": 50176, "longest_edge": 52000}},
    {"size": {"shortest_edge": 3136, "longest_edge": 401408}, "min_pixels": 12544, "max_pixels": 50176},
    {"min_pixels": 1, "max_pixels": 700},
    {"min_pixels": 52528, "max_pixels": 52528},
)


def test_all_limits_give_working_sizes_or_a_sentence_at_start(released):
    rng, works = random.Random(0), []
    for kwargs, cap in itertools.product(_KWARGS, _CAPS):
        try:
            _, resize = processor_resizes(VisualToolSettings(max_crop_pixels=cap), released, kwargs)
        except ConfigError as error:
            assert f"max_crop_pixels={cap}" in str(error) or "data.mm_processor_kwargs" in str(error)
            continue
        works.append((kwargs, cap))
        for size in sizes(rng, 20):
            width, height = resize(size)
            assert resize((width, height)) == (width, height) and width * height <= (cap or 1 << 40)
            if width * height < 150_000:
                grid = released(images=[Image.new("RGB", (width, height))], return_tensors="pt", **kwargs)
                token = resize.factor // 2
                assert grid["image_grid_thw"].tolist() == [[1, height // token, width // token]]
    assert len(works) > 25 and ({}, 65536) in works and ({}, None) in works


@pytest.mark.parametrize(
    ("settings", "kwargs", "sentence"),
    [
        ({"max_crop_pixels": 1}, {}, r"visual_tool.max_crop_pixels=1 is too small: .* Set it to (3136|65536) or more"),
        ({"max_image_pixels": 1280}, {}, r"max_image_pixels=1280 .* 1280 image tokens are (1003520|1310720) pixels"),
        ({}, {"min_pixels": 200704, "max_pixels": 100352}, r"limits images to 200704 to 100352 pixels.*set data.mm_pr"),
        ({}, {"max_pixels": 100352}, r"max_pixels=100352 alone .*min_pixels as well, for example to (3136|65536)\."),
        ({}, {"min_pixels": 3136}, r"min_pixels=3136 alone .*max_pixels as well, for example to (12845056|16777216)"),
        ({}, {"min_pixels": "3136", "max_pixels": 9999}, r"data.mm_processor_kwargs.min_pixels='3136' is refused"),
        ({}, {"min_pixels": 1.5, "max_pixels": 9999}, r"data.mm_processor_kwargs.min_pixels=1.5 is refused"),
        ({}, {"min_pixels": -1, "max_pixels": 9999}, r"data.mm_processor_kwargs.min_pixels=-1 is refused"),
        ({}, {"size": {"longest_edge": 9}}, r"mm_processor_kwargs.size=.* needs both limits, in pixels, for example"),
        ({}, {"size": 224}, r"data.mm_processor_kwargs.size=224 is refused"),
        ({}, {"size": {"shortest_edge": 0, "longest_edge": 9}}, r"mm_processor_kwargs.size.shortest_edge=0 is refused"),
        ({}, {"patch_size": 28}, r"data.mm_processor_kwargs.patch_size=28 is not supported"),
        ({}, {"images_kwargs": {"max_pixels": 9}}, r"data.mm_processor_kwargs.images_kwargs=.* is not supported"),
        ({}, {"do_resize": False}, r"data.mm_processor_kwargs.do_resize=False is not supported"),
        ({}, {"common_kwargs": {"max_pixels": 9}}, r"data.mm_processor_kwargs.common_kwargs=.* is not supported"),
        ({}, {"temporal_patch_size": 1}, r"data.mm_processor_kwargs.temporal_patch_size=1 is not supported"),
        ({}, {"size": None}, r"data.mm_processor_kwargs.size=null is refused by the processor: leave it out"),
        ({}, {"min_pixels": None, "max_pixels": None}, r"'~data.mm_processor_kwargs.min_pixels' removes it"),
    ],
)
def test_limits_that_cannot_work_are_refused_with_a_right_value(released, settings, kwargs, sentence):
    with pytest.raises(ConfigError, match=sentence):
        processor_resizes(VisualToolSettings(**settings), released, kwargs)


@pytest.mark.parametrize("value", ["3136", 3136.0, 99999.5, math.nan, math.inf, [1], -3, True])
@pytest.mark.parametrize("key", ["shortest_edge", "longest_edge", "patch_size", "merge_size"])
def test_limits_of_a_processor_that_are_no_counts_are_refused_by_name(key, value):
    size = {"shortest_edge": 3136, "longest_edge": 99999}
    processor = SimpleNamespace(**({"patch_size": 14, "merge_size": 2, "size": size | {key: value}} | {key: value}))
    with pytest.raises(ConfigError, match=rf"{key}=.* of the model's image processor is refused: .*an integer of at"):
        processor_resizes(VisualToolSettings(), processor, {})


@pytest.mark.parametrize("node", [[], [1], "abc", 5, True])
def test_arguments_of_the_processor_are_a_mapping(node):
    with pytest.raises(ConfigError, match=r"data.mm_processor_kwargs=.* is refused: it holds arguments by name"):
        processor_kwargs(OmegaConf.create({"mm_processor_kwargs": node}))
    assert processor_kwargs(OmegaConf.create({"mm_processor_kwargs": None})) == {}


def test_value_that_a_refusal_names_works(released):
    for cap in (1, 1280, 60000):
        try:
            processor_resizes(VisualToolSettings(max_crop_pixels=cap), released, {})
        except ConfigError as error:
            named = int(str(error).split("Set it to ")[1].split()[0])
            _, crops = processor_resizes(VisualToolSettings(max_crop_pixels=named), released, {})
            assert cap < named == crops.limits[1]


def test_large_limits_cost_no_time_and_enlarging_beyond_what_is_decoded_is_refused(released):
    """The work of a check is bounded by the shapes that are tried, not by the limits."""
    for most in (10**9, 10**12, 10**18):
        kwargs = {"min_pixels": 3136, "max_pixels": most}
        resize, crops = processor_resizes(VisualToolSettings(max_crop_pixels=most), released, kwargs)
        assert resize.keeps(resize((640, 480))) and resize.nearest((20, 4000)) == crops.nearest((20, 4000))
    for kwargs in ({"min_pixels": 10**12, "max_pixels": 10**12}, {"min_pixels": MOST_PIXELS + 1, "max_pixels": 10**9}):
        with pytest.raises(ConfigError, match=r"enlarges every image to \d+ pixels, .*min_pixels to less"):
            processor_resizes(VisualToolSettings(), released, kwargs)


def distances(resize: ProcessorResize, size: tuple[int, int]) -> dict[tuple[int, int], float]:
    """The sizes inside the limits, short side first, and how much their sides differ from those of the scaled image."""
    area = min(max(size[0] * size[1], resize.limits[0]), resize.limits[1])
    short, long = (side * math.sqrt(area / (size[0] * size[1])) / resize.factor for side in sorted(size))
    return {
        (a * resize.factor, b * resize.factor): math.log(a / short) ** 2 + math.log(b / long) ** 2
        for a in range(1, math.isqrt(resize.tokens[1]) + 1)
        for b in range(max(a, -(-resize.tokens[0] // a)), min(resize.tokens[1] // a, 200 * a) + 1)
    }


def test_nearest_size_is_the_nearest_of_all_inside_the_limits():
    rng = random.Random(0)
    for size in sizes(rng, 200):
        few = round(10 ** rng.uniform(0, 5))
        resize = ProcessorResize(28, (few, round(few * rng.choice((1, 1.1, rng.uniform(1, 50))))))
        if possible := distances(resize, size):
            assert possible[tuple(sorted(resize.nearest(size)))] == pytest.approx(min(possible.values()))
        else:
            with pytest.raises(ConfigError):
                resize.nearest(size)


def test_limits_without_any_size_are_an_error_and_no_endless_loop():
    with pytest.raises(ConfigError, match="No image has between 65536 and 50176 pixels"):
        ProcessorResize(32, (65536, 50176))((640, 480))


def test_processor_without_limits_is_refused():
    with pytest.raises(ConfigError, match="SimpleNamespace has no size.shortest_edge"):
        processor_resizes(VisualToolSettings(), SimpleNamespace(size={"height": 3, "width": 3}), {})


def test_arguments_of_the_processor_are_plain_types():
    kwargs = {"size": {"shortest_edge": 3136, "longest_edge": 401408}}
    plain = processor_kwargs(OmegaConf.create({"mm_processor_kwargs": kwargs}))
    assert plain == kwargs and type(plain["size"]) is dict
    assert processor_kwargs(OmegaConf.create({"mm_processor_kwargs": None})) == processor_kwargs({}) == {}


def test_size_that_a_row_asks_for_is_applied_before_the_limits(released):
    resize, _ = processor_resizes(VisualToolSettings(max_image_pixels=131072), released, {})
    least = max(released.size["shortest_edge"], 40000)
    for keys in ({"max_pixels": 90000}, {"resized_height": 300, "resized_width": 250}, {"max_pixels": 10**7}):
        asking = ProcessorResize(resize.factor, resize.limits, AskedSize(**keys))
        width, height = asking((1000, 800))
        assert least <= width * height <= min(keys.get("max_pixels", 90000), 131072)
        assert asking.keeps((width, height)) and asking != resize


def test_equal_resizes_are_one_key():
    same = ProcessorResize(28, (4 * 28 * 28, 64 * 28 * 28))
    assert same == RESIZE and hash(same) == hash(RESIZE) and ProcessorResize(32, RESIZE.limits) != RESIZE


def test_limits_are_the_processors_unless_the_run_sets_its_own(tiny_models):
    processor = tiny_models["qwen2_5_vl"].processor.image_processor
    fewest, most = pixel_limits(processor, {}, None)
    assert (fewest, most) == (processor.size["shortest_edge"], processor.size["longest_edge"])
    assert pixel_limits(processor, {"min_pixels": 5, "max_pixels": 70}, None) == (5, 70)
    assert pixel_limits(processor, {"size": {"shortest_edge": 5, "longest_edge": 70}}, 60) == (5, 60)
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


def test_equal_pictures_are_one_image_whatever_object_holds_them():
    """The address of a decoded image is no identity: another image may get it."""
    red, blue = (encoded(Image.new("RGB", (40, 30), colour)) for colour in ("red", "blue"))

    async def open_all():
        store = ImageStore()
        return [
            await store.open(source, 0, RESIZE)
            for source in (red, data_uri(red), bytes(bytearray(red)), data_uri(blue))
        ]

    first, *others = asyncio.run(open_all())
    assert [other is first for other in others] == [True, True, False]


def test_asked_sizes_of_one_picture_are_kept_apart(picture):
    async def open_both():
        store = ImageStore()
        asking = ProcessorResize(RESIZE.factor, RESIZE.limits, AskedSize(max_pixels=9 * 28 * 28))
        return [await store.open(Picture(picture), 0, resize) for resize in (RESIZE, asking)]

    plain, small = asyncio.run(open_both())
    assert plain.pixels.size == small.pixels.size and small.view.size < plain.view.size


def test_message_about_a_long_data_uri_is_short():
    with pytest.raises(UnreadableImage) as error:
        asyncio.run(ImageStore().open(data_uri(b"no image" * 500_000), 0, RESIZE))
    assert str(error.value).startswith("sha256:") and len(str(error.value)) < 200
