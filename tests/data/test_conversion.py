# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""A conversion counts and lists what it leaves out, stops above a share, and continues after it was killed."""

from __future__ import annotations

import json
from pathlib import Path

import huggingface_hub
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data.conftest import image_bytes
from huggingface_hub.errors import LocalEntryNotFoundError

from verl_mapo.data import conversion, parts
from verl_mapo.data.base import DataSet, LeftOut, Row, make_row, need, schema, target_of
from verl_mapo.data.conversion import convert
from verl_mapo.run_lock import locked
from verl_mapo.settings import ConfigError


class Counting(DataSet):
    """Questions about numbers, without images."""

    name = "counting"
    count_of = 250

    def examples(self, source):
        for number in range(self.count_of):
            yield {"id": f"n{number}", "question": f"What follows {number}?", "answer": number + 1}

    def row(self, index, example, pictures) -> Row:
        target = target_of(example["answer"])
        return make_row(self.name, index, need(example, "question"), [], target, id=self.id_of(index, example))


class Mixed(DataSet):
    """The examples of a parquet file with an image each."""

    name = "mixed"

    def row(self, index, example, pictures) -> Row:
        image, question = pictures.of_bytes(need(example, "image", bytes)), need(example, "question")
        return make_row(self.name, index, question, [image], target_of(example["answer"]), id=example["id"])


def write(folder: Path, examples: list[dict]) -> Path:
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(examples), folder / "a.parquet")
    return folder


def examples_of(count: int) -> list[dict]:
    return [
        {"id": f"e{n}", "question": "Which?", "answer": "red", "image": image_bytes(size=(30 + n, 30))}
        for n in range(count)
    ]


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def left_out_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "left_out.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(("limit", "rows"), [(None, 250), (7, 7), (100, 100)])
def test_all_rows_or_the_first_ones_are_written(tmp_path, monkeypatch, limit, rows):
    monkeypatch.setattr(conversion, "PART", 100)
    written = convert(Counting(), tmp_path, tmp_path / "out", limit)
    assert (written.rows, written.images) == (rows, 0) and written.file == tmp_path / "out" / "train.parquet"
    table = pq.read_table(written.file)
    assert table.schema == schema()
    assert [row["extra_info"]["index"] for row in table.to_pylist()] == list(range(rows))
    assert written.styles == {"numeric": rows} and not written.left_out
    assert sorted(files_of(tmp_path / "out")) == [".lock", "conversion.json", "left_out.jsonl", "train.parquet"]


def test_examples_that_become_no_row_are_counted_by_reason_and_listed(tmp_path):
    examples = examples_of(10)
    examples[1]["image"] = examples[1]["image"][:100]
    examples[2]["image"] = None
    examples[3]["answer"] = " "
    examples[4]["id"] = "e0"
    examples[5]["question"] = None
    examples[6]["image"] = b""
    source, out = write(tmp_path / "source", examples), tmp_path / "out"
    done = convert(Mixed(), source, out, max_left_out=0.6)
    expected = {"broken_image": 1, "missing_column": 2, "empty_answer": 1, "duplicate_id": 1, "missing_image": 1}
    assert done.left_out == expected and (done.rows, done.examples) == (4, 10)
    listed = left_out_of(out)
    assert [one["index"] for one in listed] == [1, 2, 3, 4, 5, 6] and listed[0]["id"] == "e1"
    assert listed[3] == {
        "index": 4, "id": "e0", "reason": "duplicate_id", "detail": "an earlier example has the id e0"
    }  # fmt: skip
    about = json.loads((out / "conversion.json").read_text())
    assert about["left_out"] == expected and about["rows"] == 4 and about["styles"] == {"exact": 4}
    assert about["data_set"].endswith(":Mixed") and about["max_left_out"] == 0.6


def test_share_above_the_limit_stops_with_a_sentence(tmp_path):
    examples = examples_of(10)
    for broken in (4, 5, 6):
        examples[broken]["image"] = b"no image"
    source, out = write(tmp_path / "source", examples), tmp_path / "out"
    with pytest.raises(ConfigError) as error:
        convert(Mixed(), source, out, max_left_out=0.25)
    message = str(error.value)
    assert "3 of 10 examples of mixed (30.0%) are left out, and --max-left-out=0.25 allows 25.0%" in message
    assert "broken_image 3. The first is example 4" in message and "set --max-left-out=0.3." in message
    assert not (out / "train.parquet").exists() and len(left_out_of(out)) == 3
    assert convert(Mixed(), source, out, max_left_out=0.3).rows == 7


def test_image_that_is_put_in_its_place_after_a_refusal_is_found(tmp_path):
    class Placed(Counting):
        count_of = 3

        def row(self, index, example, pictures):
            return make_row(self.name, index, example["question"], [pictures.at("a.jpg")], target_of("5"))

    with pytest.raises(ConfigError, match="missing_image 3"):
        convert(Placed(), tmp_path, tmp_path / "out")
    (tmp_path / "a.jpg").write_bytes(image_bytes())
    assert convert(Placed(), tmp_path, tmp_path / "out").rows == 3


def test_rows_left_out_on_purpose_are_no_faults(tmp_path):
    class Filmed(Counting):
        count_of = 4

        def row(self, index, example, pictures):
            if index == 1:
                raise LeftOut("video", "it has a video")
            return super().row(index, example | {"answer": "The dog is on the left." if index == 2 else "5"}, pictures)

    done = convert(Filmed(), tmp_path, tmp_path / "out", max_left_out=0, without_judged=True)
    assert done.rows == 2 and done.left_out == {"video": 1, "judged": 1}
    assert convert(Filmed(), tmp_path, tmp_path / "out", max_left_out=0).styles == {"numeric": 2, "judge": 1}


def test_errors_of_a_converter_leave_out_the_example_that_causes_them(tmp_path):
    class Brittle(Counting):
        def row(self, index, example, pictures):
            if index < 4:
                (lambda: {}["colour"], lambda: int("x"), lambda: None.strip(), lambda: float(10**400))[index]()
            return super().row(index, example, pictures)

        def id_of(self, index, example):
            return super().id_of(index, example).partition("n")[index and 2].lower() or None.lower()

    done = convert(Brittle(), tmp_path, tmp_path / "out")
    assert done.left_out == {"missing_column": 1, "malformed": 3} and done.rows == 246
    listed = left_out_of(tmp_path / "out")
    assert "no 'colour'" in listed[0]["detail"] and [left["id"] for left in listed] == ["0", "1", "2", "3"]


def test_half_of_a_surrogate_pair_leaves_out_its_example_and_is_listed(tmp_path):
    class Torn(Counting):
        def row(self, index, example, pictures):
            torn = {2: {"question": "What is \ud83d?"}, 3: {"id": "\ud83d", "question": ""}}
            return super().row(index, example | torn.get(index, {}), pictures)

        def id_of(self, index, example):
            return "\ud83d" if index == 3 else super().id_of(index, example)

    done = convert(Torn(), tmp_path, tmp_path / "out")
    assert done.left_out == {"malformed": 1, "empty_question": 1} and done.rows == 248
    torn, unnamed = left_out_of(tmp_path / "out")
    assert "half of a surrogate pair" in torn["detail"] and unnamed["id"] == "\ud83d"


def test_truncated_file_below_the_threshold_costs_its_own_rows(tmp_path):
    for name in "abcd":
        write(tmp_path / "source", [{**one, "id": name + one["id"]} for one in examples_of(25)])
        (tmp_path / "source" / "a.parquet").rename(tmp_path / "source" / f"{name}1.parquet")
    file = tmp_path / "source" / "c1.parquet"
    file.write_bytes(file.read_bytes()[:-20])
    done = convert(Mixed(), tmp_path / "source", tmp_path / "out", max_left_out=0.3)
    assert done.rows == 75 and 20 <= done.left_out["broken_file"] <= 30
    with pytest.raises(ConfigError, match="broken_file"):
        convert(Mixed(), tmp_path / "source", tmp_path / "out2", max_left_out=0.2)


def test_limit_of_pixels_is_in_every_image(tmp_path):
    source = write(tmp_path / "source", examples_of(2))
    table = pq.read_table(convert(Mixed(), source, tmp_path / "out", max_pixels=5000).file)
    assert table.schema == schema(with_max_pixels=True)
    with pytest.raises(ConfigError, match="--max-pixels=900 is refused.*at least 4096"):
        convert(Mixed(), source, tmp_path / "out", max_pixels=900)
    with pytest.raises(ConfigError, match="at most 2147483647"):
        convert(Mixed(), source, tmp_path / "out", max_pixels=2**63)
    assert {image["max_pixels"] for images in table.column("images").to_pylist() for image in images} == {5000}


class Killed(BaseException):
    """What ends a conversion in the tests of continuing."""


@pytest.mark.parametrize("stop", [0, 1, 9, 10, 11, 25, 39])
@pytest.mark.parametrize("limit", [None, 23])
def test_killed_conversion_continues_to_the_same_bytes(tmp_path, monkeypatch, stop, limit):
    monkeypatch.setattr(conversion, "PART", 10)
    examples = examples_of(40)
    examples[7]["image"], examples[30]["id"] = b"broken", "e2"
    source, out = write(tmp_path / "source", examples), tmp_path / "out"
    convert(Mixed(), source, out, limit, max_left_out=0.5)
    whole = files_of(out)
    for file in whole:
        (out / file).unlink()
    seen = []

    def row(self, index, example, pictures, row=Mixed.row):
        seen.append(index)
        made = row(self, index, example, pictures)
        if index == kill_at:
            raise Killed
        return made

    monkeypatch.setattr(Mixed, "row", row)
    kill_at = stop
    if stop < (limit or 40):
        with pytest.raises(Killed):
            convert(Mixed(), source, out, limit, max_left_out=0.5)
        assert not (out / "train.parquet").exists() and seen == [*range(stop + 1)]
    seen.clear()
    kill_at = None
    convert(Mixed(), source, out, limit, max_left_out=0.5)
    assert files_of(out) == whole
    assert seen[0] == (stop // 10 * 10 if stop < (limit or 40) else 0), "finished parts are not converted again"


@pytest.mark.parametrize("place", [1, 2, 3, 4, "join"])
def test_kill_between_the_files_of_a_part_or_of_the_result_is_mended(tmp_path, monkeypatch, place):
    monkeypatch.setattr(conversion, "PART", 10)
    source, out = write(tmp_path / "source", examples_of(25)), tmp_path / "out"
    convert(Mixed(), source, out)
    whole = files_of(out)
    for file in whole:
        (out / file).unlink()
    written = []

    def kill(*_):
        raise Killed

    def write_or_kill(file, text, write=parts._write):
        written.append(file)
        (kill if len(written) == place else write)(file, text)

    with monkeypatch.context() as patch:
        patch.setattr(parts, "_write", write_or_kill)
        patch.setattr(conversion, "_check_share", kill)
        with pytest.raises(Killed):
            convert(Mixed(), source, out)
    assert not (out / "train.parquet").exists() and len(written) == (place if place != "join" else 4)
    convert(Mixed(), source, out)
    assert files_of(out) == whole


@pytest.mark.parametrize(("ending", "number"), [("parquet", 0), ("parquet", 1), ("json", 1)])
def test_a_damaged_part_of_a_killed_conversion_is_converted_again(tmp_path, monkeypatch, caplog, ending, number):
    monkeypatch.setattr(conversion, "PART", 10)
    source, out = write(tmp_path / "source", examples_of(35)), tmp_path / "out"

    def kill(*_):
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(conversion, "_check_share", kill)
        convert(Mixed(), source, out)
    damaged = out / ".parts" / f"{number:06}.{ending}"
    damaged.write_bytes(damaged.read_bytes()[:-10])
    rows = pq.read_table(convert(Mixed(), source, out).file).to_pylist()
    assert [row["extra_info"]["id"] for row in rows] == [f"e{index}" for index in range(35)]
    assert f"Part {number} in" in caplog.text and "is converted again" in caplog.text


def test_two_conversions_into_one_folder_are_refused(tmp_path):
    with locked(tmp_path / "out" / conversion.LOCK):
        with pytest.raises(ConfigError, match="out is in use by another command, .* or give another folder"):
            convert(Counting(), tmp_path, tmp_path / "out")
    assert convert(Counting(), tmp_path, tmp_path / "out", 3).rows == 3


def test_other_settings_or_another_source_begin_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(conversion, "PART", 10)
    source, out = write(tmp_path / "source", examples_of(25)), tmp_path / "out"

    seen, kill_at, row = [], 20, Mixed.row

    def row_or_kill(self, index, example, pictures):
        if index == kill_at:
            raise Killed
        seen.append(index)
        return row(self, index, example, pictures)

    monkeypatch.setattr(Mixed, "row", row_or_kill)
    for change in ({"max_pixels": 9000}, {"without_judged": True}, {"limit": 22}, "source"):
        kill_at = 20
        with pytest.raises(Killed):
            convert(Mixed(), source, out)
        seen.clear()
        kill_at = None
        if change == "source":
            write(source, examples_of(26))
        convert(Mixed(), source, out, **(change if change != "source" else {}))
        assert seen[0] == 0


def test_source_without_rows_is_an_error(tmp_path):
    class Empty(Counting):
        count_of = 0

    class Faulty(Counting):
        def row(self, index, example, pictures):
            raise LeftOut("video" if index % 2 else "broken_image", "for the test")

    with pytest.raises(ConfigError, match="holds no row of counting: give the folder"):
        convert(Empty(), tmp_path, tmp_path / "out")
    with pytest.raises(ConfigError, match=r"all 250 .* left out \(broken_image 125, video 125\), see .*\. Give"):
        convert(Faulty(), tmp_path, tmp_path / "out", max_left_out=1)
    assert not (tmp_path / "out" / "train.parquet").exists()


@pytest.mark.parametrize("source", ["nowhere", "/nowhere/at/all", "./no/folder"])
def test_source_that_does_not_exist_is_an_error(tmp_path, source):
    with pytest.raises(ConfigError, match="does not exist: give the folder of the published files, or an id"):
        convert(Counting(), source, tmp_path)


def test_folder_of_the_source_or_a_file_is_no_place_for_the_result(tmp_path):
    class InParts(Mixed):
        files = ("parts/*.parquet",)

    (tmp_path / "parts").mkdir()
    write(tmp_path / "parts", examples_of(1))
    for place in (tmp_path, tmp_path / "data", tmp_path / "parts"):
        with pytest.raises(ConfigError, match="is a folder of the source"):
            convert(InParts(), tmp_path, place)
    (tmp_path / "file").touch()
    for place, fault in (("file", "is a file: give a folder"), ("file/inside", "cannot be made: Not a directory")):
        with pytest.raises(ConfigError, match=fault):
            convert(Counting(), tmp_path, tmp_path / place)


def test_repository_on_the_hub_is_downloaded_next_to_the_parquet_file(tmp_path, monkeypatch):
    def download(repository, *, repo_type, local_dir):
        assert (repository, repo_type) == ("someone/mixed", "dataset")
        return str(write(local_dir, examples_of(3)))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert convert(Mixed(), "someone/mixed", tmp_path).rows == 3


def test_failed_download_is_an_error_that_names_the_source(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise LocalEntryNotFoundError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(ConfigError, match="someone/counting .* cannot be downloaded .*: no network"):
        convert(Counting(), "someone/counting", tmp_path)


def test_files_or_rows_that_do_not_fit_are_errors_with_a_sentence(tmp_path):
    class Misfit(Counting):
        def examples(self, source):
            yield {"index": (source / "nowhere").read_text()}

    class Extra(Counting):
        def row(self, index, example, pictures):
            return super().row(index, example, pictures) | {"colour": "red"}

    class Number(Counting):
        def row(self, index, example, pictures):
            return super().row(index, example, pictures) | {"data_source": 7}

    for kind, message in (
        (Misfit, "cannot be read as counting: FileNotFoundError: .*nowhere"),
        (Extra, "counting: a row has 'colour'"),
        (Number, "counting: a row does not fit the schema"),
    ):
        with pytest.raises(ConfigError, match=message):
            convert(kind(), tmp_path, tmp_path / "out")
