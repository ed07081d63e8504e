# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Copies of photographs are found whatever their size and format; other photographs are not."""

from __future__ import annotations

import io

import pytest
from PIL import Image
from rich.console import Console
from support.converted import photograph, row, write_rows

from verl_mapo.data.image_hashes import hashes_of, perceptual_hash
from verl_mapo.data.overlap import overlap_of, overlap_table, write_overlap_page
from verl_mapo.settings import ConfigError

NAMES = ("astronaut", "coffee", "chelsea", "rocket")


@pytest.fixture
def data(tmp_path):
    """Four photographs as rows; the first is in two rows."""
    files = [tmp_path / f"{name}.jpg" for name in NAMES]
    for name, file in zip(NAMES, files, strict=True):
        photograph(name).save(file, quality=90)
    return write_rows(tmp_path / "data", [row(number, file) for number, file in enumerate([*files, files[0]])])


@pytest.fixture
def benchmark(tmp_path, data):
    """A plain folder: a copy, one of half the size, a PNG turned by EXIF, a crop, a broken file."""
    folder = tmp_path / "benchmark"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "copy.jpg").write_bytes((tmp_path / "astronaut.jpg").read_bytes())
    photograph("coffee").resize((120, 90)).save(folder / "half.jpg", quality=50)
    turned = Image.Exif()
    turned[0x0112] = 6
    photograph("chelsea").transpose(Image.Transpose.ROTATE_90).save(folder / "turned.png", exif=turned)
    photograph("rocket", (60, 40, 200, 160)).save(folder / "crop.jpg")
    Image.new("RGB", (80, 60), "white").save(folder / "white.png")
    (folder / "broken.jpg").write_bytes(b"nothing")
    (folder / "notes.txt").write_text("no image")
    return folder


def test_copies_are_found_and_others_are_not(data, benchmark):
    found = overlap_of(data, benchmark)
    pairs = [(pair.exact, pair.ours.path.name, pair.theirs.path.name) for pair in found.pairs]
    assert pairs[0] == (True, "astronaut.jpg", "copy.jpg")
    assert {pair[1:] for pair in pairs[1:]} == {("coffee.jpg", "half.jpg"), ("chelsea.jpg", "turned.png")}
    assert found.pairs[0].ours.rows == ("row 0 (q0)", "row 4 (q4)")
    assert found.ours.rows == 5 and len(found.ours.images) == 4 and len(found.theirs.images) == 5
    assert found.theirs.faults == {"broken_image": 1} and "broken.jpg" in found.theirs.named["broken_image"]
    assert [image.path.name for image in found.theirs.images if image.seen is None] == ["white.png"]


def test_page_table_and_json_show_the_pairs(data, benchmark, tmp_path):
    found = overlap_of(data, benchmark)
    page = write_overlap_page(found, tmp_path, number=2).read_text()
    assert page.count("data:image/jpeg") == 4 and "Shown are 2 of 3 pairs" in page and "row 4 (q4)" in page
    assert "broken.jpg" in page and "benchmark" in page
    printed = io.StringIO()
    Console(file=printed, width=100).print(overlap_table(found))
    assert "1 (25.0%)" in printed.getvalue() and "2 (50.0%)" in printed.getvalue()
    assert found.as_json()["pairs"][0]["data"]["rows"] == ["row 0 (q0)", "row 4 (q4)"]


def test_set_without_overlap_says_what_was_compared(data, tmp_path):
    photograph("coffee", (0, 200, 300, 400)).save(tmp_path / "other.png")
    write_rows(tmp_path / "other", [row(0, tmp_path / "other.png"), row(1, tmp_path / "absent.png")])
    found = overlap_of(data, tmp_path / "other")
    assert found.pairs == [] and found.theirs.faults == {"missing_image": 1}
    assert "No image is shared" in write_overlap_page(found, tmp_path).read_text()


def test_image_of_one_colour_has_no_perceptual_hash():
    assert perceptual_hash(Image.new("RGB", (50, 50), "white")) is None
    assert perceptual_hash(photograph()) is not None


def test_folder_without_images_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no image"):
        hashes_of(tmp_path)
