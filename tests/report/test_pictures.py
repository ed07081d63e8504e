# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import io
from dataclasses import replace

import pytest
from PIL import Image

from verl_mapo.report.pages import jpeg_url
from verl_mapo.report.pictures import UNKNOWN_SIZE, open_originals, original_size, shown_image
from verl_mapo.rollout.statuses import TurnStatus
from verl_mapo.rollout.trajectory import Trajectory, Turn


@pytest.fixture
def trajectory(make_rollout) -> Trajectory:
    return make_rollout().trajectory


def test_crop_is_cut_from_the_original(trajectory, tmp_path):
    crop = shown_image(trajectory.turns[0], open_originals(trajectory, tmp_path))
    assert crop.size == (60, 60)
    assert crop.getpixel((30, 30)) == (200, 30, 30)


def test_crop_is_turned_as_it_was_for_the_model(trajectory, make_turn, make_view, tmp_path):
    turn = make_turn(view=make_view((60, 40, 140, 100), quarter_turns=1))
    crop = shown_image(turn, open_originals(trajectory, tmp_path))
    assert crop.size == (60, 80)
    assert crop.getpixel((30, 10)) == (200, 30, 30) and crop.getpixel((30, 75)) != (200, 30, 30)


@pytest.mark.parametrize("lost", [False, True])
def test_computed_image_comes_from_the_record_and_not_from_the_original(lost, make_turn, make_record, make_rollout):
    buffer = io.BytesIO()
    Image.new("RGB", (50, 30), (0, 0, 255)).save(buffer, "JPEG")
    turn = make_turn(computed=True, pixels=buffer.getvalue())
    (read,) = make_rollout(turns=[turn]).trajectory.turns
    image = shown_image(read, [None] if lost else [Image.new("RGB", (448, 300), (200, 30, 30))])
    assert image.size == (50, 30) and image.getpixel((25, 15))[2] > 200


def test_turn_that_was_shown_no_image_has_none(trajectory, tmp_path):
    originals = open_originals(trajectory, tmp_path)
    zoom, answer = trajectory.turns
    assert shown_image(replace(zoom, status=TurnStatus.NO_ROOM), originals) is None
    assert shown_image(answer, originals) is None
    assert shown_image(Turn((0, 3), "x", TurnStatus.BAD_BOX), originals) is None


def test_missing_or_changed_original_is_none_with_a_warning(trajectory, tmp_path, caplog):
    for change in ({"images": ["/nowhere/at/all.png"]}, {"images": [""]}, {"image_sizes": [(10, 10)]}):
        assert open_originals(replace(trajectory, **change), tmp_path) == [None]
    assert caplog.text.count("placeholder") == 3 and "it is (448, 300) pixels now and was (10, 10)" in caplog.text


def test_relative_path_is_looked_for_in_the_run_folder(trajectory, tmp_path):
    (tmp_path / "there").mkdir()
    Image.open(trajectory.images[0]).save(tmp_path / "there" / "a.png")
    for reference in ("there/a.png", f"file://{tmp_path}/there/a.png"):
        (original,) = open_originals(replace(trajectory, images=[reference]), tmp_path)
        assert original.size == (448, 300)


def test_size_of_a_missing_original_is_the_recorded_one(trajectory):
    assert original_size(trajectory, 0, Image.new("RGB", (9, 8))) == (9, 8)
    assert original_size(trajectory, 0, None) == (448, 300)
    assert original_size(replace(trajectory, image_sizes=[]), 0, None) == UNKNOWN_SIZE


def test_data_url_holds_a_small_jpeg():
    url = jpeg_url(Image.new("RGB", (1000, 10)), 100)
    head, body = url.split(",", 1)
    assert head == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(body))).size == (100, 1)
