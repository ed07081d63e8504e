# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Boxes of public dialogues in the units of each model family: by hand, as a property, and in rows for SFT."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.supervised import row_of, write_rows

from verl_mapo.coldstart.box_units import UnknownUnits, respelled, units_of, without_units
from verl_mapo.data.supervised import UNITS, call_text, zoom_turn
from verl_mapo.rollout.parser import read_calls
from verl_mapo.tools.base import ToolContext
from verl_mapo.tools.coordinates import CoordinateSpace, View
from verl_mapo.tools.image_history import ImageHistory, full_view
from verl_mapo.tools.zoom import Zoom

TURNS = [
    zoom_turn("<think>Look.</think>", [0.1, 0.2, 0.5, 0.6], 0),
    zoom_turn("", [0, 0.5, 1, 1], 1),
    "<answer>red</answer>",
]


def zoom(space: CoordinateSpace) -> Zoom:
    return Zoom(ToolContext(space, labels=True, image_token_side=4))


def history() -> ImageHistory:
    """An original that the model sees at half its size, as it does every crop."""

    def half(size):
        return max(size[0] // 2, 1), max(size[1] // 2, 1)

    return ImageHistory.of([full_view(Image.new("RGB", (400, 200)), 0, half)], half)


def boxes(turns: list[str]) -> list[list[float]]:
    return [call.arguments["bbox_2d"] for turn in turns for call in read_calls(turn)]


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        (CoordinateSpace.normalized_1000, [[100, 200, 500, 600], [0, 500, 1000, 1000]]),
        (CoordinateSpace.normalized_1, [[0.1, 0.2, 0.5, 0.6], [0, 0.5, 1, 1]]),
        # The original is seen at 200 x 100, the crop [40, 40, 200, 120] of 160 x 80 pixels at 80 x 40.
        (CoordinateSpace.pixels, [[20, 20, 100, 60], [0, 20, 80, 40]]),
    ],
)
def test_boxes_are_written_in_the_units_of_a_family(space, expected):
    written = respelled(TURNS, zoom(space), history())
    assert boxes(written) == expected and written[2] == TURNS[2]
    assert written[0].startswith("<think>Look.</think>\n<tool_call>\n{") and written[0].endswith("}\n</tool_call>")


def test_label_and_other_arguments_of_a_call_stay():
    arguments = {"label": "red 车 sign", "bbox_2d": [100, 200, 500, 600]}
    [said] = respelled([call_text("zoom", arguments)], zoom(CoordinateSpace.pixels), history())
    assert said == call_text("zoom", {"label": "red 车 sign", "bbox_2d": [20, 20, 100, 60]}) and "车" in said


def test_boxes_are_read_in_the_units_that_the_row_tells():
    # The original of 400 x 200 pixels is seen at 200 x 100.
    pixels = [call_text("zoom", {"bbox_2d": [20, 20, 100, 60], "img_idx": 0})]
    for space, expected in (
        (CoordinateSpace.pixels, [20, 20, 100, 60]),
        (CoordinateSpace.normalized_1000, [100, 200, 500, 600]),
        (CoordinateSpace.normalized_1, [0.1, 0.2, 0.5, 0.6]),
    ):
        assert boxes(respelled(pixels, zoom(space), history(), CoordinateSpace.pixels)) == [expected]


@pytest.mark.parametrize(
    ("more", "kept"),
    [
        ('{"box_units": "normalized_1000", "name": "é"}', '{"name": "é"}'),
        ('{"name": "a"}', '{"name": "a"}'),
        ("{", "{"),
        (None, None),
        ("[1]", "[1]"),
    ],
)
def test_row_with_turns_of_a_model_names_no_units(more, kept):
    assert without_units({"id": "7", "more": more}) == {"id": "7", "more": kept}
    assert without_units(None) is None and without_units({"id": "7"}) == {"id": "7"}


@pytest.mark.parametrize("box", [[0.1, 0.2, 0.3], [0.1, 0.2, 0.5, 0.6]])
def test_call_that_cannot_be_carried_out_stays(box):
    turn = TURNS[1].replace("[0, 500, 1000, 1000]", json.dumps(box[:3])) if len(box) == 3 else zoom_turn("", box, 3)
    assert respelled([turn, TURNS[0]], zoom(CoordinateSpace.pixels), history())[0] == turn


@settings(max_examples=15)
@given(st.integers(0, 900), st.integers(0, 900), st.integers(20, 100), st.integers(20, 100))
def test_pixels_name_the_same_region_within_half_a_pixel(left, top, width, height):
    box = [left, top, left + width, top + height]
    turn = zoom_turn("", [value / 1000 for value in box], 0)
    [said] = boxes(respelled([turn], zoom(CoordinateSpace.pixels), history()))
    exact = [box[0] * 0.2, box[1] * 0.1, box[2] * 0.2, box[3] * 0.1]  # the original is seen at 200 x 100
    assert all(abs(one - other) <= 0.5 for one, other in zip(said, exact, strict=True))


@pytest.mark.parametrize(
    ("extra_info", "units"),
    [
        (None, None),
        ({}, None),
        ({"more": None}, None),
        ({"more": "{}"}, None),
        ({"more": '{"box_units": "pixels"}'}, CoordinateSpace.pixels),
    ],
)
def test_units_are_told_by_the_row(extra_info, units):
    assert units_of(extra_info) is units


@pytest.mark.parametrize("more", ["{", "5", '{"box_units": "miles"}', '{"box_units": null}', 7])
def test_units_that_are_not_known_are_told_in_words(more):
    with pytest.raises(UnknownUnits, match="box_units may be one of pixels, normalized_1000"):
        units_of({"more": more})


def regions(dataset) -> list[View]:
    assert dataset.verdicts[0].findings == ()
    return [turn.view.region for turn in dataset.replay(0).trajectory.turns if turn.view is not None]


def test_families_see_the_same_crops_of_a_public_dialogue(supervised, tiny_models, picture, tmp_path):
    row = row_of(picture, TURNS)
    row["extra_info"]["more"] = json.dumps({"box_units": UNITS.value})
    file = write_rows(tmp_path / "rows.parquet", [row])
    pixels, thousandths = (regions(supervised(tiny_models[name], file)) for name in ("qwen2_5_vl", "qwen3_vl"))
    assert len(pixels) == len(thousandths) == 2
    sides = [
        abs(a - b) for one, other in zip(pixels, thousandths, strict=True) for a, b in zip(one, other, strict=True)
    ]
    assert max(sides) <= 4, "the boxes are rounded to pixels of the seen image"
