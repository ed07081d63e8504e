# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""An image is a file of the source or bytes that are written once; what cannot be shown is left out by its reason."""

from __future__ import annotations

import base64
import io

import pytest
from data.conftest import image_bytes
from PIL import Image, PngImagePlugin

from verl_mapo.data import pictures as pictures_module
from verl_mapo.data.reasons import LeftOut

KINDS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")


def reason_of(call, *arguments) -> str:
    with pytest.raises(LeftOut) as left:
        call(*arguments)
    return left.value.reason


@pytest.mark.parametrize("kind", KINDS)
def test_image_in_any_format_has_its_size_as_a_file_and_as_bytes(pictures, tmp_path, kind):
    data = image_bytes(kind, (70, 50))
    (tmp_path / "one").write_bytes(data)
    there, written = pictures.at("one"), pictures.of_bytes(data)
    assert (there.width, there.height) == (written.width, written.height) == (70, 50)
    assert there.as_image() == {"image": f"file://{tmp_path / 'one'}"}
    assert written.path.parent.parent == tmp_path / "out" / "images" and written.path.read_bytes() == data


@pytest.mark.parametrize("kind", KINDS)
def test_image_cut_short_at_any_place_is_left_out(pictures, kind):
    noise = Image.effect_noise((60, 40), 80).convert("RGB")
    buffer = io.BytesIO()
    noise.save(buffer, kind)
    data = buffer.getvalue()
    for end in (1, 10, len(data) // 3, len(data) // 2, len(data) * 9 // 10):
        assert reason_of(pictures.of_bytes, data[:end]) == "broken_image", end


def test_complete_files_are_not_decoded(pictures, monkeypatch):
    monkeypatch.setattr(pictures_module, "decode", lambda _: pytest.fail("decoded"))
    for kind in ("JPEG", "PNG", "WEBP", "GIF"):
        assert pictures.of_bytes(image_bytes(kind)).width == 40


def test_jpeg_with_padding_or_a_trailer_behind_its_end_is_read(pictures):
    for tail in (b"\0" * 20, b"trailer" * 100):
        assert pictures.of_bytes(image_bytes() + tail).height == 30


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_width_and_height_are_those_of_the_upright_image(pictures, kind):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = pictures.of_bytes(image_bytes(kind, (70, 50), exif=exif))
    assert (picture.width, picture.height) == (50, 70)


def test_orientation_behind_the_pixels_of_a_png_counts(pictures):
    exif = Image.Exif()
    exif[0x0112] = 8
    data = image_bytes("PNG", (70, 50))
    end = data.index(b"IEND") - 4
    chunk = io.BytesIO()
    PngImagePlugin.putchunk(chunk, b"eXIf", exif.tobytes()[6:])
    assert pictures.of_bytes(data[:end] + chunk.getvalue() + data[end:]).width == 50


def test_equal_bytes_are_one_file_and_a_half_written_one_is_replaced(pictures):
    first = pictures.of_bytes(image_bytes())
    first.path.write_bytes(b"half")
    assert pictures.of_bytes(image_bytes()) == first and first.path.read_bytes() == image_bytes()
    assert pictures.of_bytes(image_bytes(colour="blue")).path != first.path
    assert len([path for path in pictures.folder.rglob("*") if path.is_file()]) == 2


def test_every_fault_has_its_reason(pictures, tmp_path):
    (tmp_path / "page.jpg").write_text("<html>404</html>")
    (tmp_path / "empty.jpg").touch()
    assert reason_of(pictures.at, "nowhere.jpg") == "missing_image"
    assert reason_of(pictures.at, "page.jpg/x.jpg") == "missing_image"
    assert reason_of(pictures.at, "page.jpg") == reason_of(pictures.at, "empty.jpg") == "broken_image"
    assert reason_of(pictures.at, ".") == "broken_image", "a folder"
    for image, detail in {"": "the image is an empty text", "http://x.org/a.jpg": "is no local file: download"}.items():
        with pytest.raises(LeftOut, match=f"missing_image.*{detail}"):
            pictures.of(image)
    assert reason_of(pictures.of_bytes, b"") == "missing_image"
    assert reason_of(pictures.of_bytes, image_bytes(size=(2010, 10))) == "thin_image"


def test_image_with_too_many_pixels_is_left_out(pictures, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    assert reason_of(pictures.of_bytes, image_bytes()) == "broken_image"


def test_image_is_taken_in_any_published_form(pictures, tmp_path):
    data = image_bytes()
    (tmp_path / "one.jpg").write_bytes(data)
    text = base64.b64encode(data).decode()
    written = pictures.of_bytes(data)
    for value in (data, {"bytes": data, "path": "x.jpg"}, f"data:image/jpeg;base64,{text}", text):
        assert pictures.of(value) == written
    for value in ("one.jpg", f"file://{tmp_path}/one.jpg", {"image": "one.jpg"}, {"bytes": None, "path": "one.jpg"}):
        assert pictures.of(value) == pictures.at("one.jpg")
    assert reason_of(pictures.of, None) == reason_of(pictures.of, {"bytes": None, "path": None}) == "missing_image"
    assert reason_of(pictures.of, 7) == "malformed"
    assert reason_of(pictures.of, "data:image/png;base64") == "broken_image"
