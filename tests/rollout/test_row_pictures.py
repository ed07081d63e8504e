# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Rollouts of rows whose pictures are unusual: their bytes, metadata, sizes and references."""

from __future__ import annotations

import json
from typing import Any

import pytest
from PIL import Image, ImageDraw
from support.pictures import BROKEN_EXIF_JPEG, UPRIGHT_SIZE, data_uri, encoded
from support.scripted import compose_config, play

from verl_mapo.names import TRAJECTORY
from verl_mapo.rollout.statuses import EndReason, TurnStatus

RED = encoded(Image.new("RGB", (448, 300), "red"))
LOOK = '<tool_call>\n{"name": "zoom", "arguments": {"bbox_2d": [5, 5, 60, 60], "label": "x"}}\n</tool_call>'
ANSWER = "<answer>x</answer>"


def user(*parts: Any) -> list[dict]:
    return [{"role": "user", "content": [*parts, {"type": "text", "text": "what?"}]}]


def roll(model, prompt: list[dict], *overrides: str) -> Any:
    """A rollout of one look and an answer, checked by the processor's own count of tokens."""
    output = play(model, compose_config(*overrides), prompt, [LOOK, ANSWER])
    images = (output.multi_modal_data or {}).get("images", [])
    tokens = output.prompt_ids + output.response_ids
    if images:
        grid = model.processor.image_processor(images=images, return_tensors="pt", **output.mm_processor_kwargs)
        features = grid["image_grid_thw"].prod(-1).sum() // model.processor.image_processor.merge_size**2
        assert tokens.count(model.processor.image_token_id) == features
    return output


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image", "image": data_uri(RED)},
        {"type": "image", "image": RED},
        {"type": "image", "bytes": RED, "path": None, "image": None},
        {"type": "image_url", "image_url": {"url": data_uri(RED)}, "text": None, "image": None},
    ],
)
def test_embedded_picture_is_shown_and_recorded_by_its_hash(model, part, caplog):
    output = roll(model, user(part, {"type": "text", "text": "one", "image": None}))
    trajectory = output.extra_fields[TRAJECTORY]
    assert trajectory.end_reason is EndReason.ANSWER and trajectory.turns[0].status is TurnStatus.OK
    assert trajectory.image_sizes == [(448, 300)] and len(output.multi_modal_data["images"]) == 2
    (reference,) = trajectory.images
    assert reference.startswith("sha256:") and len(json.dumps(trajectory.to_record())) < 5000 and not caplog.records


def test_picture_with_broken_metadata_is_shown_upright(model):
    output = roll(model, user({"type": "image", "image": BROKEN_EXIF_JPEG}))
    assert output.extra_fields[TRAJECTORY].image_sizes == [UPRIGHT_SIZE]
    assert output.extra_fields[TRAJECTORY].end_reason is EndReason.ANSWER


def test_black_strokes_on_a_transparent_ground_can_be_seen(model):
    figure = Image.new("RGBA", (448, 300))
    ImageDraw.Draw(figure).rectangle((100, 100, 300, 200), fill=(0, 0, 0, 255))
    first, crop = roll(model, user({"type": "image", "image": encoded(figure)})).multi_modal_data["images"]
    assert first.getpixel((1, 1)) == (255, 255, 255) and min(first.getdata())[0] < 30
    assert crop.mode == "RGB"


def test_thin_picture_is_shown(model, tmp_path):
    for number, ratio in enumerate((150, 174, 187, 200)):
        Image.new("RGB", (20, 20 * ratio)).save(tmp_path / f"{number}.png")
        output = roll(model, user({"type": "image", "image": str(tmp_path / f"{number}.png")}))
        assert output.extra_fields[TRAJECTORY].image_sizes == [(20, 20 * ratio)]
        assert output.extra_fields[TRAJECTORY].turns


def test_row_asks_for_a_size(model, picture):
    side = 2 * model.processor.image_processor.patch_size
    for keys in ({"max_pixels": 8 * side**2}, {"resized_height": 2 * side, "resized_width": 3 * side}):
        output = roll(model, user({"type": "image", "image": picture, **keys}))
        width, height = output.multi_modal_data["images"][0].size
        assert (width, height) == (3 * side, 2 * side)
        assert output.extra_fields[TRAJECTORY].image_sizes == [(448, 300)]


def test_processor_size_of_the_configuration_is_the_size_that_boxes_refer_to(model, picture):
    limits = "+data.mm_processor_kwargs={size: {shortest_edge: 100352, longest_edge: 125000}}"
    output = roll(model, user({"type": "image", "image": picture}), limits, "data.max_response_length=2048")
    sizes = [image.size for image in output.multi_modal_data["images"]]
    assert all(100352 <= width * height <= 125000 for width, height in sizes)
    turn = output.extra_fields[TRAJECTORY].turns[0]
    if model.model_type == "qwen2_5_vl":
        x, y = 448 / sizes[0][0], 300 / sizes[0][1]
        assert turn.box_asked == pytest.approx((5 * x, 5 * y, 60 * x, 60 * y))


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ({"type": "video", "video": "a.mp4"}, "it holds video"),
        ({"type": "image", "image": data_uri(b"no image" * 500_000)}, "not an image in a format"),
        ({"type": "image", "image": "/no/" + "x" * 5000}, "File name too long"),
        ({"type": "image", "image": "https://example.org/a.png"}, "a run downloads nothing"),
        ({"type": "image", "image": None}, "is empty"),
        ({"type": "image", "image": "a.png", "min_pixels": 2, "max_pixels": 1}, "min_pixels=2 is above"),
    ],
)
def test_row_that_cannot_be_shown_ends_its_rollout_with_a_short_message(model, part, reason, caplog):
    output = roll(model, user(part, {"type": "text", "text": None}))
    trajectory = output.extra_fields[TRAJECTORY]
    assert trajectory.end_reason is EndReason.UNREADABLE_IMAGE and not trajectory.turns
    assert sum(output.response_mask) == 0 and not output.multi_modal_data
    assert "what?" in model.tokenizer.decode(output.prompt_ids)
    (record,) = caplog.records
    assert reason in record.getMessage() and len(record.getMessage()) < 600
    assert len(json.dumps(trajectory.to_record())) < 600


def test_row_in_any_other_form_ends_its_rollout_alone(tiny_models, picture):
    image = {"type": "image", "image": picture}
    prompts = [
        *(None, "what?", 7, [], ["what?"], [[]], [None], {"role": "user", "content": "what?"}),
        *([{"content": "what?"}], [{"role": "human", "content": "what?"}], [{"role": None, "content": [image]}]),
        *(
            [{"role": "user", "content": content}]
            for content in (None, b"x", 7, {"type": "text", "text": "x"}, [[image]])
        ),
        *([{"role": "user", "content": [part]}] for part in ({**image, "text": "x"}, {"text": 7}, {}, None, 3)),
    ]
    for prompt in prompts:
        trajectory = roll(tiny_models["qwen2_5_vl"], prompt).extra_fields[TRAJECTORY]
        assert trajectory.end_reason is EndReason.UNREADABLE_IMAGE and not trajectory.turns


def test_parts_without_a_type_are_shown(tiny_models, picture):
    for part in ({"image": picture, "text": ""}, {"type": "text", "image": picture}, {"type": None, "image": picture}):
        output = roll(tiny_models["qwen2_5_vl"], [{"role": "user", "content": [part, "what?"]}])
        assert output.extra_fields[TRAJECTORY].turns[0].status is TurnStatus.OK
        assert "what?" in tiny_models["qwen2_5_vl"].tokenizer.decode(output.prompt_ids)
