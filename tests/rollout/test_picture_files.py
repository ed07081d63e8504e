# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures that rows embed, as files: the same pixels, written once, by several processes at once."""

from __future__ import annotations

import io
import multiprocessing
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.pictures import BROKEN_EXIF_JPEG, data_uri, encoded

from verl_mapo.rollout.decode import UnreadableImage
from verl_mapo.rollout.picture_files import PictureFiles, content_reference_of
from verl_mapo.rollout.row_pictures import Picture
from verl_mapo.settings import ConfigError
from verl_mapo.training.question_id import question_id

RED = encoded(Image.new("RGB", (40, 30), "red"))
MODES = ("1", "L", "LA", "La", "P", "RGB", "RGBA", "RGBa", "CMYK", "YCbCr", "HSV", "I", "F", "I;16")


@pytest.fixture
def files(tmp_path) -> PictureFiles:
    return PictureFiles(tmp_path / "pictures")


def written(files: PictureFiles) -> list[Path]:
    return [path for path in files.folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("mode", MODES)
def test_file_of_a_decoded_image_shows_the_same_pixels(mode, files):
    image = Image.linear_gradient("L").resize((20, 10))
    if mode in ("La", "I;16"):
        image = Image.new(mode, (20, 10), 7)
    else:
        image = (image.convert("RGBA") if mode == "RGBa" else image).convert(mode)
    stored = files.path_of(image)
    assert Picture(stored).pixels().tobytes() == Picture(image).pixels().tobytes()
    assert files.path_of(image) == stored and len(written(files)) == 1


@pytest.mark.parametrize(
    "source",
    [RED, BROKEN_EXIF_JPEG, data_uri(RED), Image.open(io.BytesIO(BROKEN_EXIF_JPEG)), data_uri(RED).partition(",")[2]],
    ids=["bytes", "odd EXIF data", "data URI", "opened", "bare base64"],
)
def test_file_holds_the_bytes_that_the_row_holds(source, files):
    content = RED if isinstance(source, str) or source is RED else BROKEN_EXIF_JPEG
    assert Path(files.path_of(source)).read_bytes() == content


@pytest.mark.parametrize(
    "source", ["a.png", "/x/" + "y" * 5000, "file:///a.png", "https://example.org/a.png", "", 7, None, ["a"]]
)
def test_what_embeds_no_picture_stays(source, files):
    assert files.path_of(source) == source and not files.folder.exists()


@pytest.mark.parametrize("source", ["data:image/png;base64,AAA" + "A" * 90_000, "data:image/png" + "A" * 90_000])
def test_damaged_data_uri_becomes_short_and_stays_unreadable(source, files):
    short = files.path_of(source)
    assert len(short) < 200 and short.startswith("data:image/png") and not files.folder.exists()
    with pytest.raises(UnreadableImage):
        Picture(short).pixels()


def test_broken_bytes_are_stored_and_a_lost_image_is_named(files):
    with pytest.raises(UnreadableImage):
        Picture(files.path_of(b"no image")).pixels()
    lost = Image.open(io.BytesIO(RED))
    lost.fp.close()
    with pytest.raises(UnreadableImage):
        Picture(files.path_of(lost)).pixels()


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.binary(max_size=20),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=10,
    )
)
def test_values_without_pictures_are_not_changed(value):
    assert PictureFiles(Path("/nowhere")).lean(value) == value


def test_pictures_are_found_at_any_depth(files):
    path = str(files.path_of(RED))
    value = {"a": [{"bytes": RED, "path": "x.png", "n": 1}, (RED, data_uri(RED))], "b": {"bytes": b"1"}, "c": ["x"]}
    lean = {"a": [{"bytes": None, "path": path, "n": 1}, [path, path]], "b": {"bytes": b"1"}, "c": ["x"]}
    assert files.lean(value) == lean


def test_questions_have_the_same_identity_wherever_the_pictures_are_stored(tmp_path):
    def identity(folder: str, content: bytes) -> str:
        path = PictureFiles(tmp_path / folder).path_of(content)
        return question_id("toy", 1, "A", [{"role": "user", "content": [{"type": "image", "image": path}]}])

    assert identity("a", RED) == identity("b", RED) != identity("a", RED + b"\n")
    assert content_reference_of("/data/a.png") == "/data/a.png"


def _store(folder: Path, start) -> None:
    files = PictureFiles(folder)
    start.wait()
    for side in range(20, 60):
        files.path_of(encoded(Image.new("RGB", (side, 20), "blue"), "BMP"))


def test_several_processes_write_the_same_pictures_at_once(files):
    context = multiprocessing.get_context("fork")
    start = context.Barrier(4)
    workers = [context.Process(target=_store, args=(files.folder, start)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert len(written(files)) == 40
    for file in written(files):
        content = file.read_bytes()
        assert content_reference_of(str(file)) == Picture(content).reference and Image.open(file).height == 20


def test_full_disk_stops_with_a_sentence_and_leaves_no_part_behind(files, monkeypatch):
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match=r"data.picture_dir=.*No space left on device.*for example data.picture_dir="):
        files.path_of(RED)
    assert written(files) == []
