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
import pytest
from PIL import Image

from verl_mapo.tools.base import ArgumentError
from verl_mapo.tools.coordinates import BoxError, CoordinateSpace
from verl_mapo.tools.image_history import ImageHistory, whole
from verl_mapo.tools.rotate import Rotate
from verl_mapo.tools.zoom import Zoom


def shrink(size):
    """A processor that sees everything at 56 x 56."""
    return 56, 56


@pytest.fixture
def gallery():
    """A 100 x 100 original whose pixel (x, y) has red 2x and green 2y, seen at 56 x 56."""
    image = Image.new("RGB", (100, 100))
    image.putdata([(2 * (i % 100), 2 * (i // 100), 0) for i in range(10_000)])
    return ImageHistory.of([whole(image, 0, shrink)], shrink)


@pytest.fixture
def zoom():
    return Zoom(CoordinateSpace.pixels, labelled=True, min_side=4, max_aspect=10)


def test_the_crop_comes_from_the_original_at_full_resolution(gallery, zoom):
    sight = zoom.look(zoom.parse({"label": "x", "bbox_2d": [28, 14, 42, 28]}), gallery)
    assert sight.view.region == (50, 25, 75, 50)
    assert sight.crop.size == (25, 25) and sight.image.size == (56, 56)
    assert sight.crop.getpixel((0, 0)) == (100, 50, 0)
    assert len(gallery.views) == 1, "looking does not change the gallery"


def test_zooming_into_a_turned_crop_composes(gallery, zoom):
    gallery.add(zoom.look(zoom.parse({"label": "x", "bbox_2d": [0, 0, 28, 28]}), gallery))
    rotate = Rotate(CoordinateSpace.pixels, labelled=True)
    gallery.add(rotate.look(rotate.parse({"angle": 90, "img_idx": 1}), gallery))
    sight = zoom.look(zoom.parse({"label": "x", "bbox_2d": [0, 0, 28, 28], "img_idx": 2}), gallery)
    assert sight.view.region == (0, 25, 25, 50) and sight.view.quarter_turns == 1
    assert sight.crop.getpixel((0, 0)) == (0, 98, 0), "the turned crop's top left is the region's bottom left"


def test_a_fork_shares_images_and_grows_alone(gallery, zoom):
    gallery.add(zoom.look(zoom.parse({"label": "x", "bbox_2d": [0, 0, 28, 28]}), gallery))
    fork = gallery.first(1)
    fork.add(zoom.look(zoom.parse({"label": "x", "bbox_2d": [28, 28, 56, 56]}), fork))
    assert len(gallery.views) == len(fork.views) == 2
    assert fork.images[0] is gallery.images[0] and fork.views[1] != gallery.views[1]


@pytest.mark.parametrize(
    "arguments",
    [None, [], "x", {}, {"bbox_2d": [1, 2, 3]}, {"bbox_2d": ["1", 2, 3, 4]}, {"bbox_2d": [1, 2, 3, float("nan")]}]
    + [{"bbox_2d": [1, 2, 3, 4], "label": 7}, {"bbox_2d": [1, 2, 3, 4], "img_idx": "0"}]
    + [{"bbox_2d": [1, 2, 3, 4], "zoom": 2}, {"bbox_2d": [1, 2, 3, True]}, {"bbox_2d": [1, 2, 3, 10**400]}],
)
def test_arguments_of_the_wrong_form_are_refused(zoom, arguments):
    with pytest.raises(ArgumentError):
        zoom.parse(arguments)


@pytest.mark.parametrize("box", [[9, 9, 5, 12], [60, 60, 70, 70], [5, 5, 5, 5]])
def test_boxes_that_cannot_be_used_are_refused(gallery, zoom, box):
    with pytest.raises(BoxError):
        zoom.look(zoom.parse({"label": "x", "bbox_2d": box}), gallery)


@pytest.mark.parametrize("index", [1, -1, 10**9])
def test_an_image_that_was_not_shown_is_refused(gallery, zoom, index):
    with pytest.raises(BoxError, match="there is no image"):
        zoom.look(zoom.parse({"bbox_2d": [0, 0, 9, 9], "img_idx": index}), gallery)


@pytest.mark.parametrize("labelled", [True, False])
def test_the_schema_says_what_the_arguments_take(labelled):
    for tool in (Zoom(CoordinateSpace.normalized_1000, labelled, 28, 20), Rotate(CoordinateSpace.pixels, labelled)):
        shown = tool.schema()["function"]["parameters"]
        assert set(shown["properties"]) <= set(tool.arguments.model_fields)
        assert ("label" in shown["required"]) is (labelled and tool.described)
    box = Zoom(CoordinateSpace.normalized_1000, labelled, 28, 20).parameters()["properties"]["bbox_2d"]
    assert (box["items"], box["minItems"], box["maxItems"]) == ({"type": "number"}, 4, 4)
    assert "0 to 1000" in box["description"]
