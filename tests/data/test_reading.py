# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Data files are read as a stream; a broken file or line costs itself alone."""

from __future__ import annotations

import json
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from verl_mapo.data.reading import count_examples, data_files, read_examples, unpack
from verl_mapo.data.reasons import LeftOut
from verl_mapo.settings import ConfigError


def questions(count: int, start: int = 0) -> list[dict]:
    return [{"question": f"{number}?", "answer": number / 2} for number in range(start, start + count)]


@pytest.mark.parametrize("ending", ["jsonl", "json", "lines.json", "parquet"])
def test_examples_are_read_from_every_format_in_the_order_of_the_names(tmp_path, ending):
    (tmp_path / "data").mkdir()
    for part in range(2):
        file, rows = tmp_path / "data" / f"part{part}.{ending}", questions(3, 3 * part)
        if ending == "parquet":
            pq.write_table(pa.Table.from_pylist(rows), file)
        else:
            file.write_text(json.dumps(rows, indent=1) if ending == "json" else "\n".join(map(json.dumps, rows)))
    assert [*read_examples(tmp_path)] == questions(6)
    assert count_examples(tmp_path) == (6 if ending == "parquet" else None)


def test_patterns_give_the_files_and_their_order(tmp_path):
    for name in ("b.jsonl", "a.jsonl", "other.jsonl"):
        (tmp_path / name).write_text(json.dumps({"from": name}))
    assert [one["from"] for one in read_examples(tmp_path, ("b.*", "a.*"))] == ["b.jsonl", "a.jsonl"]
    with pytest.raises(ConfigError, match=r"holds no c\.\* or d\.\*"):
        data_files(tmp_path, ("c.*", "d.*"))


def test_folder_without_data_files_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="holds no .parquet, .jsonl or .json file, nor does its folder data"):
        next(read_examples(tmp_path))


@pytest.mark.parametrize("end", ["\r", "\r\n", "\n"])
def test_lines_may_have_any_end(tmp_path, end):
    (tmp_path / "a.jsonl").write_bytes(end.join(map(json.dumps, questions(3))).encode())
    assert [*read_examples(tmp_path)] == questions(3)


def test_lines_that_are_no_objects_are_left_out_by_themselves(tmp_path):
    too_many_digits, too_deep = '{"x": ' + "1" * 5000 + "}", "[" * 100_000
    (tmp_path / "a.jsonl").write_text(f'{{"x": 1}}\n{{"x": \n\n[2]\n{too_many_digits}\n{too_deep}\n{{"x": 3}}\n')
    found = [*read_examples(tmp_path)]
    assert [one for one in found if not isinstance(one, LeftOut)] == [{"x": 1}, {"x": 3}]
    assert [one.reason for one in found if isinstance(one, LeftOut)] == ["malformed"] * 4


@pytest.mark.parametrize(
    ("fault", "costs"),
    [
        (b'"caf\xe9"', 1),
        (b'"a\tb"', 0),
        (b"NaN", 0),
        (b"-Infinity", 0),
        (b"123456789012345678901234567890", 0),
        (b'"' + "é".encode() * 700_000 + b'"', 0),
    ],
)
@pytest.mark.parametrize("name", ["a.jsonl", "list.json", "a.tsv"])
def test_a_value_in_another_form_costs_its_own_example_at_most(tmp_path, name, fault, costs):
    values = [b"%d" % number for number in range(1000)]
    values[15] = fault
    if name == "a.tsv":
        content = b"x\n" + b"\n".join(value.replace(b"\t", b" ") for value in values)
    else:
        objects = [b'{"x": ' + value + b"}" for value in values]
        content = b"\n".join(objects) if name == "a.jsonl" else b"[" + b",\n ".join(objects) + b"]"
    (tmp_path / name).write_bytes(content)
    found = [*read_examples(tmp_path, [name])]
    left = [one for one in found if isinstance(one, LeftOut)]
    assert len(found) == 1000 and [one.reason for one in left] == ["malformed"] * costs
    assert found[-1] == {"x": "999" if name == "a.tsv" else 999}
    assert all("no UTF-8" in one.detail and name in one.detail for one in left)


def test_a_list_with_a_fault_counts_the_rest_by_its_own_bytes(tmp_path):
    items = [json.dumps(one) for one in questions(1000)]
    items[100] = '{"question": 1 "answer": 2}'
    (tmp_path / "a.json").write_text(f"[{', '.join(items)}]")
    *kept, broken = read_examples(tmp_path)
    assert kept == questions(100) and broken.reason == "broken_file" and "Expecting ',' delimiter" in broken.detail
    assert broken.examples == pytest.approx(900, rel=0.1)


def test_a_first_parquet_file_without_head_counts_by_the_heads_of_the_others(tmp_path):
    for name in "abc":
        pq.write_table(pa.Table.from_pylist(questions(400)), tmp_path / f"{name}.parquet")
    (tmp_path / "a.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-20])
    broken, *kept = read_examples(tmp_path)
    assert len(kept) == 800 and broken.examples == pytest.approx(400, abs=10)


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "list.json", "a.tsv"])
def test_a_byte_order_mark_belongs_to_no_example(tmp_path, name):
    text = {"a": '{"x": "1"}\n', "list": '[{"x": "1"}]'}[name.split(".")[0]] if "tsv" not in name else "x\n1\n"
    (tmp_path / name).write_text(text, encoding="utf-8-sig")
    assert [*read_examples(tmp_path, [name])] == [{"x": "1"}]


@pytest.mark.parametrize("pattern", ["**.jsonl", "/data/*.jsonl"])
def test_a_glob_that_cannot_be_read_is_an_error_of_the_setting(tmp_path, pattern):
    with pytest.raises(ConfigError, match="is no glob of data files: .* relative to the source, such as"):
        data_files(tmp_path, [pattern])


def test_a_file_of_another_format_is_an_error_that_names_the_formats(tmp_path):
    (tmp_path / "a.jsonl.gz").touch()
    with pytest.raises(ConfigError, match=r"a\.jsonl\.gz is no data file: the formats are \.parquet, \.jsonl"):
        data_files(tmp_path, ["*"])


def test_truncated_parquet_counts_as_the_examples_that_its_size_lets_expect(tmp_path):
    for name in "abc":
        pq.write_table(pa.Table.from_pylist(questions(400)), tmp_path / f"{name}.parquet")
    whole = (tmp_path / "b.parquet").read_bytes()
    (tmp_path / "b.parquet").write_bytes(whole[: len(whole) // 2])
    found = [*read_examples(tmp_path)]
    [broken] = [one for one in found if isinstance(one, LeftOut)]
    assert len(found) == 801 and broken.reason == "broken_file" and "b.parquet" in broken.detail
    assert 150 <= broken.examples <= 250


def test_parquet_with_a_damaged_middle_keeps_what_is_before_and_counts_the_rest(tmp_path):
    rows = [{"text": f"{number:07}" * 20} for number in range(3000)]
    file = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist(rows), file, row_group_size=1000, compression="zstd", use_dictionary=False)
    data = bytearray(file.read_bytes())
    place = pq.read_metadata(file).row_group(1).column(0).data_page_offset
    data[place : place + 200] = b"\xff" * 200
    file.write_bytes(data)
    found = [*read_examples(tmp_path)]
    kept = [one for one in found if not isinstance(one, LeftOut)]
    assert kept == rows[: len(kept)] and len(kept) == 1000
    assert [one.examples for one in found[1000:]] == [2000]


def test_truncated_list_of_json_keeps_its_whole_items(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(questions(5))[:-12])
    *kept, broken = read_examples(tmp_path)
    assert kept == questions(4) and broken.reason == "broken_file" and broken.examples == 1


@pytest.mark.parametrize("inside", ["images/a/b.txt", "b.txt"])
def test_archive_is_unpacked_once_and_a_half_unpacked_one_again(tmp_path, inside):
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as file:
        file.writestr(inside, "here")
    (tmp_path / ".images").mkdir()
    folder = unpack(tmp_path / "images.zip", tmp_path / "images")
    assert (folder / inside.removeprefix("images/")).read_text() == "here"
    (tmp_path / "images.zip").unlink()
    assert unpack(tmp_path / "images.zip", tmp_path / "images") == folder


@pytest.mark.parametrize("kind", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_damaged_member_of_an_archive_costs_itself_alone(tmp_path, caplog, kind):
    with zipfile.ZipFile(tmp_path / "images.zip", "w", kind) as file:
        for name in ("a.txt", "b/b.txt", "c.txt"):
            file.writestr(f"images/{name}", f"{name}{'x' * 200}")
        place = file.getinfo("images/b/b.txt").header_offset + 30 + len("images/b/b.txt")
    data = bytearray((tmp_path / "images.zip").read_bytes())
    data[place : place + 3] = b"\xff" * 3
    (tmp_path / "images.zip").write_bytes(data)
    folder = unpack(tmp_path / "images.zip", tmp_path / "images")
    assert {file.name: file.stat().st_size for file in folder.rglob("*.txt")} == {
        "a.txt": 205,
        "b.txt": 0,
        "c.txt": 205,
    }
    assert "1 of" in caplog.text and "images/b/b.txt" in caplog.text


def test_table_with_long_and_quoted_fields_is_read_and_a_short_row_costs_itself_alone(tmp_path):
    image = "x" * 200_000
    (tmp_path / "set.tsv").write_text(f'index\tquestion\timage\n0\t"a ""b""\nc"\t{image}\n1\talone\n2\tlast\t\n')
    first, second, third = read_examples(tmp_path, ("set.tsv",))
    assert first == {"index": "0", "question": 'a "b"\nc', "image": image}
    assert isinstance(second, LeftOut) and "row 3 of set.tsv has another number of fields" in second.detail
    assert third == {"index": "2", "question": "last", "image": None}
