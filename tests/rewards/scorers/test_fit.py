# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Scorers see the whole of a crop that is not square, also with the preprocessing settings of released models."""

from __future__ import annotations

import io
import json
import shutil
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont
from transformers import AutoConfig, AutoImageProcessor, AutoModel

from verl_mapo.rewards.scorers.base import build_scorer
from verl_mapo.rewards.scorers.clip import ClipScorer
from verl_mapo.rewards.scorers.fit import letterboxed, stretched
from verl_mapo.rewards.scorers.settings import ScorerSettings
from verl_mapo.rollout.images import thumbnail

HALVES = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
CLIP = {
    "do_center_crop": True,
    "do_normalize": True,
    "do_resize": True,
    "feature_extractor_type": "CLIPFeatureExtractor",
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "resample": 3,
}
SIGLIP = {
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_processor_type": "SiglipImageProcessor",
    "processor_class": "SiglipProcessor",
    "rescale_factor": 0.00392156862745098,
    **HALVES,
}
RELEASED = {
    "openai/clip-vit-base-patch32": ("clip", {**CLIP, "size": 224, "crop_size": 224}),
    "laion/CLIP-ViT-B-32-laion2B-s34B-b79K": (
        "clip",
        {**CLIP, "size": {"shortest_edge": 224}, "crop_size": {"height": 224, "width": 224}},
    ),
    "a CLIP that cuts a margin off every image": ("clip", {**CLIP, "size": {"shortest_edge": 256}, "crop_size": 224}),
    "google/siglip-base-patch16-224": ("siglip", {**SIGLIP, "resample": 3, "size": {"height": 224, "width": 224}}),
    "google/siglip2-base-patch16-224": (
        "siglip",
        {**SIGLIP, "resample": 2, "size": {"height": 224, "width": 224}, "do_convert_rgb": None},
    ),
    "google/siglip2-base-patch16-naflex": (
        "siglip2",
        {
            **SIGLIP,
            "image_processor_type": "Siglip2ImageProcessor",
            "processor_class": "Siglip2Processor",
            "resample": 2,
            "max_num_patches": 256,
            "patch_size": 16,
        },
    ),
}
"""Each model's tower and the contents of its preprocessor_config.json."""

WHOLE = ("letterbox", "stretch")
CLIPS = [name for name, (tower, _) in RELEASED.items() if tower == "clip"]


@pytest.fixture(scope="module")
def released(request, tmp_path_factory):
    """A function from a released model's name to a folder with its preprocessing and a tiny random model of 224 px."""

    @cache
    def make(name: str) -> str:
        tower, preprocessing = RELEASED[name]
        folder = tmp_path_factory.mktemp("released")
        shutil.copytree(request.getfixturevalue(f"{tower}_folder"), folder, dirs_exist_ok=True)
        (folder / "processor_config.json").unlink()
        (folder / "preprocessor_config.json").write_text(json.dumps(preprocessing))
        if tower != "siglip2":
            torch.manual_seed(0)
            config = AutoConfig.from_pretrained(folder)
            config.vision_config.image_size, config.vision_config.patch_size = 224, 32
            model = AutoModel.from_config(config)
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    torch.nn.init.normal_(parameter, std=0.3)
            model.save_pretrained(folder)
        return str(folder)

    return make


@pytest.fixture(scope="module")
def scorer_of(released):
    """A function from a released model's name and a fit to a scorer."""

    @cache
    def make(name: str, **changed: str) -> ClipScorer:
        return build_scorer(ScorerSettings(model=released(name), device="cpu", **changed))

    return make


def sent(image: Image.Image) -> Image.Image:
    """The image as it reaches the scorer from the agent loop."""
    return Image.open(io.BytesIO(thumbnail(image, 224))).convert("RGB")


def striped(size: tuple[int, int], start: float, end: float) -> Image.Image:
    """A grey image that is white from one share of its longer side to another."""
    image = Image.new("RGB", size, (90, 90, 90))
    if size[0] >= size[1]:
        image.paste((255, 255, 255), (round(start * size[0]), 0, round(end * size[0]), size[1]))
    else:
        image.paste((255, 255, 255), (0, round(start * size[1]), size[0], round(end * size[1])))
    return image


def line_of_text(start: str, middle: str, end: str) -> Image.Image:
    """A text line of 480 x 120 pixels, whose middle word lies in its middle quarter."""
    image = Image.new("RGB", (480, 120), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(60)
    for x, word in ((60, start), (240, middle), (420, end)):
        draw.text((x, 60), word, "black", font, anchor="mm")
    return image


def pixels_of(scorer: ClipScorer, *images: Image.Image) -> torch.Tensor:
    return scorer.image_inputs([sent(image) for image in images])["pixel_values"]


@pytest.mark.parametrize("name", CLIPS[:2])
def test_text_lines_that_differ_only_at_their_ends_differ_for_clip(scorer_of, name):
    lines = [sent(line_of_text(*words)) for words in (("NO", "of", "12"), ("ON", "of", "57"))]
    own = scorer_of(name, fit="model").score(["NO of 12"] * 2, lines)
    assert own[0] == pytest.approx(own[1], abs=1e-5)
    for fit in WHOLE:
        whole = scorer_of(name, fit=fit).score(["NO of 12"] * 2, lines)
        assert abs(whole[0] - whole[1]) > 1e-3
    assert scorer_of(name).fit == "stretch"


SIZES = st.tuples(st.integers(20, 400), st.floats(1, 150), st.booleans()).map(
    lambda drawn: tuple(sorted((drawn[0], round(drawn[0] * drawn[1])), reverse=drawn[2]))
)


@pytest.mark.parametrize("fit", WHOLE)
@pytest.mark.parametrize("name", RELEASED)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(size=SIZES, far=st.booleans())
def test_an_end_of_a_crop_of_any_ratio_reaches_the_model(scorer_of, name, fit, size, far):
    if max(size) > 6000:
        size = tuple(max(20, side // 10) for side in size)
    plain, marked = striped(size, 0, 0), striped(size, *((0.95, 1) if far else (0, 0.05)))
    one, other = pixels_of(scorer_of(name, fit=fit), plain, marked)
    assert (one - other).abs().max() > 0.1


@pytest.mark.parametrize("fit", WHOLE)
@pytest.mark.parametrize("name", [name for name in RELEASED if "naflex" not in name])
@pytest.mark.parametrize("size", [(640, 160), (60, 300), (300, 300)])
def test_every_part_of_a_crop_has_the_same_share_of_the_pixels(scorer_of, name, fit, size):
    parts = [striped(size, tenth / 10, (tenth + 1) / 10) for tenth in range(10)]
    plain, *marked = pixels_of(scorer_of(name, fit=fit), striped(size, 0, 0), *parts)
    shares = torch.stack([(each - plain).abs().sum() for each in marked])
    assert shares.max() < 1.25 * shares.min()


def test_own_preprocessing_of_clip_leaves_the_ends_out(scorer_of):
    one, other = pixels_of(scorer_of(CLIPS[0], fit="model"), striped((640, 160), 0, 0), striped((640, 160), 0, 0.3))
    assert torch.equal(one, other)


@pytest.mark.parametrize("name", RELEASED)
def test_stretch_is_the_own_preprocessing_of_a_model_that_sees_everything(scorer_of, released, name):
    image = sent(line_of_text("NO", "of", "12"))
    if name in CLIPS:
        image = image.resize((224, 224))
    if "margin" in name:
        pytest.skip("this one does not see everything, not even of a square")
    own = AutoImageProcessor.from_pretrained(Path(released(name)))([image], return_tensors="pt")
    assert torch.equal(scorer_of(name, fit="stretch").image_inputs([image])["pixel_values"], own["pixel_values"])


def test_naflex_gets_every_image_in_its_ratio_and_unpadded(scorer_of):
    image = sent(line_of_text("NO", "of", "12"))
    inputs = [
        scorer_of("google/siglip2-base-patch16-naflex", fit=fit).image_inputs([image]) for fit in (*WHOLE, "model")
    ]
    assert all(torch.equal(each["pixel_values"], inputs[0]["pixel_values"]) for each in inputs)
    height, width = inputs[0]["spatial_shapes"][0].tolist()
    assert width == 4 * height


@pytest.mark.parametrize("square", [letterboxed, stretched])
def test_square_has_the_longer_side_and_a_square_image_stays_as_it_is(square):
    assert square(striped((40, 10), 0, 0.5)).size == square(striped((7, 40), 0, 0.5)).size == (40, 40)
    image = striped((30, 30), 0, 0.5)
    assert square(image).tobytes() == image.tobytes()


def test_letterbox_keeps_the_pixels_and_fills_the_rest():
    image = letterboxed(line_of_text("A", "B", "C"), (1, 2, 3))
    assert image.crop((0, 180, 480, 300)).tobytes() == line_of_text("A", "B", "C").tobytes()
    assert image.getpixel((0, 0)) == image.getpixel((479, 479)) == (1, 2, 3)
