# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The box of a crop is read out of code, and code that does more than cropping has none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verl_mapo.data.python_crops import NoCrop, read_crop

OPENCV = """
import cv2
import os
from uuid import uuid4

image_path = "/somewhere/17127.jpg"
image = cv2.imread(image_path)
# the plate
x1, y1, x2, y2 = 1250, 1030, 1360, 1070
cropped_image = image[y1:y2, x1:x2]
zoom_factor = 2
resized_image = cv2.resize(cropped_image, None, fx=zoom_factor, fy=zoom_factor, interpolation=cv2.INTER_CUBIC)
random_suffix = str(uuid4())[:8]
processed_path = os.path.join("/processed/", f"17127_{random_suffix}.jpg")
cv2.imwrite(processed_path, resized_image)
print(processed_path)
"""
OPEN = "from PIL import Image\nimage = Image.open('a.png')\n"


def size_of(path: str) -> tuple[int, int]:
    return 640, 480


def test_crop_of_opencv_is_read():
    crop = read_crop(OPENCV, lambda path: (1400, 1400))
    assert crop.file == "/somewhere/17127.jpg" and crop.box == (1250, 1030, 1360, 1070)


@pytest.mark.parametrize(
    ("code", "box"),
    [
        ("part = image.crop((10, 20, 30, 40))\npart.save('b.png')", (10, 20, 30, 40)),
        ("box = (1, 2, 3, 4)\nimage.crop(box).resize((9, 9)).save('b.png')", (1, 2, 3, 4)),
        ("left, top = 100, 50\nimage.crop((left, top, left + 200, top + 2 * 50))", (100, 50, 300, 150)),
        ("w, h = image.size\nimage.crop((w // 2, 0, w, h / 2))", (320, 0, 640, 240)),
        ("image.crop((0, 0, min(image.width, 900), max(image.height - 80, 1)))", (0, 0, 640, 400)),
        ("h, w, c = image.shape\npart = image[0:h // 2, int(0.5 * w):w]", (320, 0, 640, 240)),
        ("h, w = image.shape[:2]\npart = image[0:h, 0:w - 1]", (0, 0, 639, 480)),
        ("x2 = 900\nif x2 > image.width:\n    x2 = 640\nimage.crop((0, 0, x2, 9))", (0, 0, 640, 9)),
        ("if image is None:\n    raise ValueError('no')\npart = image.copy()[2:4, 1:3]", (1, 2, 3, 4)),
        ("if not os.path.exists('d'):\n    os.makedirs('d')\nimage.crop((1, 2, 3, 4))", (1, 2, 3, 4)),
        ("box = [1, 2, 3, 4]\na, b, c, d = box\nimage.crop(tuple(box)).save('c.png')", (1, 2, 3, 4)),
        ("image.crop(box=(1, 2, 3, 4))", (1, 2, 3, 4)),
        ("image = image.convert('RGB')\npart = image[2:4, 1:3]", (1, 2, 3, 4)),
        ("x, pad = 30, 20\nx -= pad\nimage.crop((x, 2, 40 + pad, 40))", (10, 2, 60, 40)),
        ("x = -5\nif x < 0 or image is None:\n    x = 0\nimage.crop((x, 2, 3, 4))", (0, 2, 3, 4)),
        ("x = 5\nif not 0 <= x < 5:\n    x = 4\nimage.crop((x, 2, 9, 9))", (4, 2, 9, 9)),
        ("if image is None or not os.path.exists('a'):\n    exit()\nimage.crop((1, 2, 3, 4))", (1, 2, 3, 4)),
        ("part = image[300:700, 600:900]", (600, 300, 640, 480)),
        ("try:\n    part = image.crop((1, 2, 3, 4))\nexcept Exception as error:\n    print(error)", (1, 2, 3, 4)),
    ],
)
def test_box_is_computed_from_what_the_code_says(code, box):
    assert read_crop(OPEN + code, size_of).box == box


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("x = ", "no Python"),
        (OPEN, "crops 0 times"),
        (OPEN + "a = image.crop((1, 2, 3, 4))\nb = image.crop((1, 2, 3, 4))", "crops 2 times"),
        (OPEN + "other = Image.open('b.png')\nimage.crop((1, 2, 3, 4))", "opens 2 images"),
        (OPEN + "image.rotate(90).crop((1, 2, 3, 4))", r"calls rotate\(\)"),
        (OPEN + "image.crop(find(image))", r"calls find\(\)"),
        (OPEN + "image.crop((len(name), 2, 3, 4))", "not known before it runs"),
        (OPEN + "image.crop((1 / 0, 0, 1, 1))", "not known before it runs"),
        (OPEN + "part = image[:10, 2:5]", "leaves out a side"),
        (OPEN + "part = image[::-1, 2:5]", "indexes pixels"),
        (OPEN + "for x in (1, 2):\n    image.crop((x, 2, 3, 4))", "a loop or a function"),
        ("print(1 + 1)", "crops 0 times"),
        ("import os\nos.system('rm x')", r"calls system\(\)"),
    ],
)
def test_other_code_has_no_box(code, reason):
    with pytest.raises(NoCrop, match=reason):
        read_crop(code, size_of)


CROP = "image.crop((x, 10, 220, 110))"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("image = image[::-1]\npart = image[10:110, 20:120]", "indexes pixels"),
        ("image = image.copy()[::-1]\npart = image[10:110, 20:120]", "indexes pixels"),
        ("part = image[10:110, 20:120, 0]", "indexes pixels"),
        ("part = image[10:110, 20:120][..., 0]", "indexes pixels"),
        ("part = image[10:110, 20:120][..., ::-1]", "indexes pixels"),
        ("part = image[-110:-10, 20:120]", "no whole number from 0"),
        ("image[0:50, 0:50] = 0", "assigns to image"),
        ("image = image.resize((1280, 960))\nimage.crop((1, 2, 3, 4))", "resizes the image before"),
        ("import cv2\nimage = cv2.resize(image, (1280, 960))\npart = image[1:2, 3:4]", "resizes the image before"),
        ("image.thumbnail((320, 240))\nimage.crop((1, 2, 3, 4))", r"calls thumbnail\(\)"),
        ("part = 255 - image.crop((1, 2, 3, 4))", "computes with the pixels"),
        ("part = image[10:110, 20:120] * 2", "computes with the pixels"),
        ("part = -image[10:110, 20:120]", "computes with the pixels"),
        ("part = image.crop((1, 2, 3, 4))\npart *= 2", "computes with the pixels"),
        ("image = image.convert('L')\npart = image[1:2, 3:4]", r"calls convert\(\)"),
        (f"x = 20\nif x > 5 and os.path.exists('b'):\n    x = 50\n{CROP}", "not known whether x = 50 runs"),
        (f"x: int = 20\n{CROP}", "has the statement"),
        (f"x = 20\n(x := 100)\n{CROP}", "computes"),
        (f"x = 20\ntry:\n    pass\nexcept Exception:\n    x = 50\n{CROP}", "not known whether x = 50 runs"),
        (f"x = 20\nif os.path.exists('b'):\n    x = 50\n{CROP}", "not known whether x = 50 runs"),
        (f"x = 20\ny = 'path'[(x := 100)]\n{CROP}", "computes"),
        ("np.resize(image.crop((1, 2, 3, 4)), (5, 5))", r"calls np.resize\(\)"),
        ("image.crop((1, 2, 3, 4)).resize((5, 5), 3, (0, 0, 1, 1))", r"calls resize\(\)"),
        ("if False:\n    image.crop((1, 2, 3, 4))", "crops 0 times"),
        ("image.crop((1, 2, 3, 4)).crop((0, 0, 1, 1))", "crops a crop"),
        ("image.save('b.png')\nimage.crop((1, 2, 3, 4))", "saves the image that it opened"),
        ("a = image.crop((1, 2, 3, 4))\na.save('b.png')\na.save('c.png')", "saves 2"),
        ("image = cv2.imread('a.png', 0)\nimage.crop((1, 2, 3, 4))", "opens an image in a way"),
        ("parts = [image]\nparts[0:1]", "images in a list"),
        ("image.crop((1e308 * 10, 0, 1, 1))", "crops with"),
    ],
)
def test_code_that_does_more_than_crop_has_no_box(code, reason):
    with pytest.raises(NoCrop, match=reason):
        read_crop(OPEN + code, size_of)


def test_branch_that_runs_is_followed():
    code = "x = 10\nif x > 5:\n    x = 20\nelse:\n    x = 600\nif False:\n    x = 7\n"
    assert read_crop(OPEN + code + CROP, size_of).box == (20, 10, 220, 110)
    opened = "with Image.open('a.png') as image:\n    part = image.crop((1, 2, 3, 4))\n    part.save('b.png')"
    assert read_crop(opened, size_of).box == (1, 2, 3, 4)


@given(st.text(max_size=200))
def test_no_text_raises_another_error(code):
    try:
        read_crop(code, size_of)
    except NoCrop:
        pass


@given(box=st.tuples(*[st.integers(0, 5000)] * 4), pillow=st.booleans())
def test_numbers_of_both_libraries_are_read_alike(box, pillow):
    x1, y1, x2, y2 = box
    how = f"image.crop(({x1}, {y1}, {x2}, {y2}))" if pillow else f"image[{y1}:{y2}, {x1}:{x2}]"
    assert read_crop(f"{OPEN}part = {how}", lambda path: (5000, 5000)).box == box
