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
from __future__ import annotations

import base64
import io

import pytest
from PIL import Image

from verl_mapo.report.pictures import area, cut, jpeg_url, open_originals, trajectory_picture


@pytest.fixture
def trajectory(make_line):
    return make_line()["trajectory"]


def test_a_crop_is_cut_again_from_the_original(trajectory, tmp_path):
    crop = cut(trajectory["turns"][0], open_originals(trajectory, tmp_path))
    assert crop.size == (60, 60)
    assert crop.getpixel((30, 30)) == (200, 30, 30)


def test_a_crop_is_turned_as_the_model_saw_it(trajectory, tmp_path):
    turn = trajectory["turns"][0] | {"box_executed": [60, 40, 140, 100], "quarter_turns": 1}
    crop = cut(turn, open_originals(trajectory, tmp_path))
    assert crop.size == (60, 80)
    assert crop.getpixel((30, 10)) == (200, 30, 30) and crop.getpixel((30, 75)) != (200, 30, 30)


def test_what_was_not_shown_is_not_cut(trajectory, tmp_path):
    originals = open_originals(trajectory, tmp_path)
    assert cut(trajectory["turns"][0] | {"status": "no_room"}, originals) is None
    assert cut(trajectory["turns"][1], originals) is None


def test_a_lost_or_changed_image_is_none_and_reported(trajectory, tmp_path, caplog):
    assert open_originals(trajectory | {"images": ["/nowhere/at/all.png"]}, tmp_path) == [None]
    assert open_originals(trajectory | {"images": [""]}, tmp_path) == [None]
    assert open_originals(trajectory | {"image_sizes": [[10, 10]]}, tmp_path) == [None]
    assert caplog.text.count("placeholder") == 3


def test_a_relative_path_is_looked_for_in_the_run_folder(trajectory, tmp_path):
    (tmp_path / "there").mkdir()
    Image.open(trajectory["images"][0]).save(tmp_path / "there" / "a.png")
    for reference in ("there/a.png", f"file://{tmp_path}/there/a.png"):
        (original,) = open_originals(trajectory | {"images": [reference]}, tmp_path)
        assert original.size == (448, 300)


def test_area_is_a_share_of_the_original(trajectory):
    assert area(trajectory["turns"][0], (120, 60)) == 0.5


def test_a_data_url_holds_a_small_jpeg():
    url = jpeg_url(Image.new("RGB", (1000, 10)), 100)
    head, body = url.split(",", 1)
    assert head == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(body))).size == (100, 1)


@pytest.mark.parametrize("looks", [0, 1, 5])
@pytest.mark.parametrize("lost", [False, True])
def test_a_trajectory_becomes_a_picture(looks, lost, make_rollout, make_turn, tmp_path):
    changes = {"images": ["/nowhere.png"]} if lost else {}
    turns = [make_turn(label="a $ and </b>", score=None, faults=["long_label"]) for _ in range(looks)]
    rollout = make_rollout(turns=turns, **changes)
    trajectory_picture(rollout, tmp_path / "one.png")
    trajectory_picture(rollout, tmp_path / "two.png")
    with Image.open(tmp_path / "one.png") as image:
        assert image.width > 1000
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_a_rollout_without_a_record_becomes_a_picture(make_rollout, tmp_path):
    trajectory_picture(make_rollout(trajectory=None), tmp_path / "out.png")
    assert (tmp_path / "out.png").stat().st_size > 0
