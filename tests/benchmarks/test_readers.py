# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Every benchmark reads its official layout, with the official number of questions, into neutral rows."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support import official_files
from support.official_files import WRITERS, jpeg, rows_of, written

from verl_mapo.benchmarks import BENCHMARKS
from verl_mapo.benchmarks.grouping import Answer
from verl_mapo.data import convert
from verl_mapo.settings import ConfigError

WHOLE, PART = 200, 40
"""Benchmarks of up to WHOLE questions are tested with all of them; the others have PART questions in these tests."""

SAMPLES = Path(__file__).parents[3] / "shared" / "samples"


def prepared(name: str, source: Path, out: Path, **options) -> list[dict]:
    return list(rows_of(convert(BENCHMARKS.find(name)(options), source, out, max_left_out=0.0).file))


@pytest.fixture(scope="module")
def benchmarks(tmp_path_factory):
    """The rows of every benchmark; where it is large, of a smaller one of the same layout."""
    rows = {}
    with pytest.MonkeyPatch.context() as patch:
        for name in BENCHMARKS.names:
            kind, folder = BENCHMARKS.find(name), tmp_path_factory.mktemp(name)
            count = kind.questions if kind.questions <= WHOLE else PART
            patch.setattr(kind, "questions", count)
            rows[name] = prepared(name, written(name, folder / "source", count), folder / "out")
    return rows


def test_every_benchmark_has_a_file_of_its_official_layout():
    assert set(WRITERS) == set(BENCHMARKS.names)


def test_every_benchmark_is_in_the_table_of_the_page():
    page = (Path(__file__).parents[2] / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    for name in BENCHMARKS.names:
        kind = BENCHMARKS.find(name)
        assert f"| `{name}` | {kind.hub_id or 'made by `verl-mapo toy`'} | {kind.questions:,} |" in page


@pytest.mark.parametrize("name", BENCHMARKS.names)
def test_official_layout_becomes_neutral_rows(benchmarks, name):
    rows, kind = benchmarks[name], BENCHMARKS.find(name)
    assert len(rows) == (kind.questions if kind.questions <= WHOLE else PART)
    assert kind.__doc__ and (kind.hub_id or name == "toy") and kind.rule
    for row in rows:
        text, target = row["prompt"][0]["content"], row["reward_model"]
        assert row["data_source"] == name and len(row["prompt"]) == 1
        assert text.count("<image>") == len(row["images"]) > 0
        assert "Answer with" not in text and "Please answer" not in text and r"\boxed" not in text
        assert all(Path(image["image"].removeprefix("file://")).is_file() for image in row["images"])
        for option in target["options"] or ():
            assert option.replace("<image 3>", "") in text or "in the image" in text
        json.loads(row["extra_info"]["more"])


def test_number_of_questions_that_is_not_official_is_an_error_with_both(tmp_path):
    source = written("vstar", tmp_path / "source", 190)
    with pytest.raises(ConfigError, match="has 190 questions, and vstar has 191"):
        prepared("vstar", source, tmp_path / "out")


def test_number_of_questions_in_parquet_is_checked_before_anything_is_converted(tmp_path):
    source = written("hrbench_4k", tmp_path / "source", 12)
    assert BENCHMARKS.find("hrbench_4k")().layout(source).name == "parquet"
    with pytest.raises(ConfigError, match="has 12 questions, and hrbench_4k has 800"):
        prepared("hrbench_4k", source, tmp_path / "out")
    assert not (tmp_path / "out" / "images").exists()


def test_file_that_is_cut_in_half_is_named_with_the_fault(tmp_path):
    [file] = written("hrbench_4k", tmp_path / "source", 12).rglob("*.parquet")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(ConfigError, match=rf"cannot be read to its end \(broken_file\): .*{file.name} cannot be read"):
        prepared("hrbench_4k", tmp_path / "source", tmp_path / "out")


def test_question_with_an_empty_option_before_another_is_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(BENCHMARKS.find("hrbench_4k"), "questions", 2)
    rows = pq.read_table(next(written("hrbench_4k", tmp_path / "made", 2).rglob("*.parquet"))).to_pylist()
    official_files.parquet(tmp_path / "source", "hr_bench_4k.parquet", [rows[0], rows[1] | {"C": None, "answer": "B"}])
    with pytest.raises(ConfigError, match="1 of 2 examples of hrbench_4k .* malformed 1"):
        prepared("hrbench_4k", tmp_path / "source", tmp_path / "out")


def test_missing_column_is_an_error_with_both_lists(tmp_path):
    row = {key: value for key, value in official_files.pope(0).items() if key != "category"}
    official_files.parquet(tmp_path, "data/test-0.parquet", [row] * 9000)
    with pytest.raises(
        ConfigError, match=r"has the columns .*image_source.* official file has .*; category is missing"
    ):
        prepared("pope", tmp_path, tmp_path / "out")


def test_files_of_another_benchmark_are_an_error_with_the_expected_names(tmp_path):
    source = written("treebench", tmp_path / "source", 5)
    with pytest.raises(ConfigError, match=r"has no file of mmstar: it must hold mmstar.parquet"):
        prepared("mmstar", source, tmp_path / "out")


def test_vstar_keeps_the_official_order_and_takes_boxes_from_the_annotations(benchmarks):
    rows = benchmarks["vstar"]
    assert [row["reward_model"]["ground_truth"] for row in rows[:5]] == list("ABCDA")
    assert rows[0]["extra_info"]["boxes"] == [[4, 6, 14, 18]]
    assert rows[0]["prompt"][0]["content"] == "<image>\nWhat is it?\n(A) apple\n(B) pear\n(C) plum\n(D) fig"


def test_options_with_the_truth_first_are_shuffled_by_the_seed(tmp_path, monkeypatch):
    monkeypatch.setattr(BENCHMARKS.find("vstar"), "questions", 60)
    official_files.vstar_annotations(tmp_path / "source", 60)
    first = prepared("vstar", tmp_path / "source", tmp_path / "a")
    again = prepared("vstar", tmp_path / "source", tmp_path / "b", seed=0)
    other = prepared("vstar", tmp_path / "source", tmp_path / "c", seed=1)
    truths = [[row["reward_model"]["ground_truth"] for row in rows] for rows in (first, again, other)]
    assert truths[0] == truths[1] != truths[2]
    shares = Counter(truths[0])
    assert set(shares) == set("ABCD") and max(shares.values()) < 30
    for row in first:
        target = row["reward_model"]
        assert target["options"]["ABCD".index(target["ground_truth"])] == "apple"


def test_images_of_the_four_orders_of_options_are_written_once(benchmarks):
    for name in ("hrbench_4k", "hrbench_8k"):
        rows = benchmarks[name]
        assert len({row["images"][0]["image"] for row in rows}) == 5
        groups = [json.loads(row["extra_info"]["more"])["group"] for row in rows]
        assert Counter(groups) == dict.fromkeys(range(PART // 4), 4)
        assert Counter(row["reward_model"]["ground_truth"] for row in rows) == dict.fromkeys("ABCD", PART // 4)
        for row in rows:
            assert row["reward_model"]["options"]["ABCD".index(row["reward_model"]["ground_truth"])] == "apple"


def test_short_image_of_a_table_is_the_image_of_an_earlier_row(tmp_path, monkeypatch):
    monkeypatch.setattr(BENCHMARKS.find("hrbench_8k"), "questions", 20)
    rows = [official_files.hrbench(place) for place in range(20)]
    for row in rows:
        if row["index"] % 4:
            row["image"] = str(row["index"] // 4 * 4)
    official_files.tsv(tmp_path, "hr_bench_8k.tsv", rows)
    found = prepared("hrbench_8k", tmp_path, tmp_path / "out")
    assert len({row["images"][0]["image"] for row in found}) == 5
    assert found[5]["images"] == found[4]["images"] != found[3]["images"]


@pytest.mark.parametrize(
    ("place", "changed", "message"),
    [
        (6, {"question": "Where is it?"}, r"rows 5 and 7 .* ask 'What is on .* and 'Where is it\?'"),
        (7, {"image": official_files.base64_of(3)}, "rows 5 and 8 .* about one image and 'What is on .* about another"),
        (4, {"image": official_files.base64_of(3)}, "rows 5 and 6 .* about another"),
        (1, {"question": ' what is on  the "table" of the room?'}, None),
    ],
)
def test_orders_of_options_that_are_not_of_one_question_are_an_error(tmp_path, monkeypatch, place, changed, message):
    monkeypatch.setattr(BENCHMARKS.find("hrbench_8k"), "questions", 8)
    rows = [official_files.hrbench(row) for row in range(8)]
    rows[place] |= changed
    official_files.tsv(tmp_path, "hr_bench_8k.tsv", rows)
    if message is None:
        assert len(prepared("hrbench_8k", tmp_path, tmp_path / "out")) == 8
        return
    with pytest.raises(ConfigError, match=message):
        prepared("hrbench_8k", tmp_path, tmp_path / "out")


def repackaged(name: str, folder: Path, monkeypatch, examples: list[dict]) -> list[dict]:
    """The rows of some examples in the repackaged form, each with an image file of its own."""
    folder.mkdir()
    for place, example in enumerate(examples):
        example |= {"image": f"{place}.jpg", "options": "A.27B\nB.37B\nC.27D\nD.27E", "answer": "ABCD"[place % 4]}
        (folder / example["image"]).write_bytes(jpeg(place))
    (folder / "rows.jsonl").write_text("".join(json.dumps(example) + "\n" for example in examples))
    monkeypatch.setattr(BENCHMARKS.find(name), "questions", len(examples))
    return prepared(name, folder, folder / "out")


def test_orders_of_a_question_are_a_group_in_the_repackaged_form(tmp_path, monkeypatch):
    examples = [
        {"question_id": place, "question": f"What is {place // 4}?", "category": ("single", "cross")[place // 4]}
        for place in range(8)
    ]
    rows = repackaged("hrbench_4k", tmp_path / "whole", monkeypatch, examples)
    facts = [json.loads(row["extra_info"]["more"]) for row in rows]
    assert [one["group"] for one in facts] == [0] * 4 + [1] * 4
    assert [one["cycle_category"] for one in facts] == [f"cycle_{cycle}" for cycle in range(4)] * 2
    right = [Answer(str(place), float(place != 5), one) for place, one in enumerate(facts)]
    found = BENCHMARKS.find("hrbench_4k")().summary(right)
    assert found == {
        "accuracy": 7 / 8, "mean_of_cycles": 7 / 8, "all_cycles": 1 / 2,
        "fsp": 1.0, "fcp": 3 / 4, "mean_fsp_fcp": 7 / 8,
    }  # fmt: skip
    with pytest.raises(ConfigError, match=r"rows 1 and 4 .* ask 'What is 0\?' and 'What is 1\?'"):
        repackaged("hrbench_4k", tmp_path / "part", monkeypatch, examples[1:])


def test_tasks_of_mme_realworld_are_told_by_the_ids_of_the_repackaged_form(tmp_path, monkeypatch):
    names = ["perception/remote_sensing/position/2527", "reasoning/monitoring/calculate/12", "other"]
    examples = [{"question_id": name, "question": "Where is it?", "category": "Monitoring"} for name in names]
    rows = repackaged("mme_realworld_lite", tmp_path / "rows", monkeypatch, examples)
    facts = [json.loads(row["extra_info"]["more"]) for row in rows]
    found = BENCHMARKS.find("mme_realworld_lite")().summary([Answer(one["category"], 1.0, one) for one in facts])
    assert facts[1]["l2_category"] == "calculate"
    assert set(found) == {"accuracy", "accuracy_c", "category/Monitoring", "task/Perception", "task/Reasoning"}


def test_free_answers_go_to_the_check_that_can_judge_them(benchmarks):
    styles = {name: Counter(row["reward_model"]["style"] for row in rows) for name, rows in benchmarks.items()}
    assert styles["visual_probe_hard"] == {"exact": 53, "judge": 53}
    assert set(styles["pope"]) == set(styles["hallusion_bench"]) == {"yes_no"}
    assert set(styles["clevr_count"]) == {"numeric"}
    assert set(styles["geo3k"]) == {"math", "numeric"}
    assert set(styles["mmk12"]) == set(styles["we_math"]) == set(styles["treebench"]) == {"multiple_choice"}
    assert set(styles["dynamath"]) == {"numeric", "multiple_choice", "math"}


def test_facts_for_the_grouping_rules_are_in_more(benchmarks):
    more = {name: json.loads(rows[-1]["extra_info"]["more"]) for name, rows in benchmarks.items()}
    assert {"problem", "step"} <= set(more["we_math"])
    assert {"problem", "variant"} <= set(more["dynamath"])
    assert {"category", "subcategory", "set_id", "figure_id", "question_id"} <= set(more["hallusion_bench"])
    assert {"category", "cycle_category", "group"} <= set(more["hrbench_8k"])
    assert {"task", "category", "l2_category"} <= set(more["mme_realworld_lite"])
    assert {"type", "task", "source"} <= set(more["cv_bench"])


def test_boxes_are_pixels_of_the_image(benchmarks):
    assert benchmarks["treebench"][0]["extra_info"]["boxes"] == [[2, 3, 20, 30], [5, 5, 9, 9]]
    assert benchmarks["zoombench"][0]["extra_info"]["boxes"] == [[2, 3, 20, 30]]


def test_scenes_of_the_toy_keep_their_prompts_and_boxes(tmp_path):
    official_files.toy(tmp_path / "source", 16)
    with pytest.raises(ConfigError, match="has 16 questions, and toy has 256: .* the files of verl-mapo toy"):
        prepared("toy", tmp_path / "source", tmp_path / "out")
    rows = prepared("toy", tmp_path / "source", tmp_path / "smoke", size="smoke")
    made = list(rows_of(tmp_path / "source" / "test.parquet"))
    for row, scene in zip(rows, made, strict=True):
        assert row["prompt"][0] == scene["prompt"][1]
        assert row["reward_model"] == scene["reward_model"] | {"options": None}
        box = scene["extra_info"]["target_box"]
        assert row["extra_info"]["boxes"] == ([box] if box else None)
    assert {json.loads(row["extra_info"]["more"])["category"] for row in rows} <= {"letter", "colour", "shape", "count"}


def test_boxes_of_another_unit_are_refused_and_converted_with_the_option(tmp_path, monkeypatch):
    monkeypatch.setattr(BENCHMARKS.find("zoombench"), "questions", 9)
    rows = [official_files.zoombench(place) | {"bbox": [100, 200, 500, 1000]} for place in range(9)]
    official_files.parquet(tmp_path, "data/test.parquet", rows)
    with pytest.raises(ConfigError, match="box_outside 9"):
        prepared("zoombench", tmp_path, tmp_path / "out")
    [box] = prepared("zoombench", tmp_path, tmp_path / "out", box_unit="thousandths")[0]["extra_info"]["boxes"]
    assert box == pytest.approx([6.4, 9.6, 32, 48])


def test_images_of_mmmu_stand_where_they_are_named_first(benchmarks):
    row = next(row for row in benchmarks["mmmu_val"] if row["extra_info"]["id"] == "validation_Math_1")
    text = row["prompt"][0]["content"]
    assert text == 'Compare <image> with <image>, and image 1 again.\n(A) <image>\n(B) a "b"\n(C) it\'s'
    assert len(row["images"]) == 3
    unnamed = next(row for row in benchmarks["mmmu_val"] if row["extra_info"]["id"] == "validation_Art_Theory_0")
    assert unnamed["prompt"][0]["content"] == "<image>\nWhat is shown?" and len(unnamed["images"]) == 1
    several = next(row for row in benchmarks["mmmu_val"] if row["extra_info"]["id"] == "validation_Math_9")
    assert json.loads(several["extra_info"]["more"])["answers"] == ["$6", "6 dollars"]


def test_question_that_is_in_the_image_alone_has_a_text(benchmarks):
    texts = [row["prompt"][0]["content"] for row in benchmarks["mathverse"]]
    assert texts[4] == "<image>\nAnswer the question in the image."


def test_option_whose_text_is_a_letter_is_no_truth(benchmarks):
    row = benchmarks["mathvision"][0]
    assert row["reward_model"] == {
        "style": "multiple_choice", "ground_truth": "A", "options": ["1", "2", "A", "4", "5"],
    }  # fmt: skip


def test_images_are_read_from_the_archive_of_papo(tmp_path, monkeypatch):
    monkeypatch.setattr(BENCHMARKS.find("clevr_count"), "questions", 9)
    name = "BUAADreamer_clevr_count_70k"
    source = written("clevr_count", tmp_path / "source", 9)
    shutil.make_archive(str(tmp_path / "source" / f"{name}_images"), "zip", source / "images" / name)
    shutil.rmtree(source / "images")
    assert len(prepared("clevr_count", source, tmp_path / "out")) == 9


def test_images_that_no_file_holds_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(BENCHMARKS.find("clevr_count"), "questions", 9)
    source = written("clevr_count", tmp_path / "source", 9)
    (source / "images" / "BUAADreamer_clevr_count_70k" / "BUAADreamer_clevr_count_70k" / "7.png").unlink()
    with pytest.raises(ConfigError, match="1 of 9 examples of clevr_count .* missing_image 1"):
        prepared("clevr_count", source, tmp_path / "out")


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the real samples are not beside the checkout")
@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("vstar", "vstar_bench_6rows"),
        ("hrbench_4k", "hrbench_4k_6rows"),
        ("mme_realworld_lite", "MME_RealWorld_Lite_6rows"),
        ("treebench", "treebench_6rows"),
        ("visual_probe_hard", "visual_probe_hard_6rows"),
    ],
)
def test_real_questions_in_the_repackaged_form(tmp_path, monkeypatch, name, file):
    text, picture = (SAMPLES / f"{file}.jsonl").read_text(encoding="utf-8"), jpeg(0, (4000, 3000))
    for line in map(json.loads, text.splitlines()):
        path = tmp_path / "source" / line["image"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture)
    (tmp_path / "source" / f"{file}.jsonl").write_text(text, encoding="utf-8")
    monkeypatch.setattr(BENCHMARKS.find(name), "questions", 6)
    rows = prepared(name, tmp_path / "source", tmp_path / "out")
    assert len(rows) == 6
    if name == "hrbench_4k":
        assert [json.loads(row["extra_info"]["more"])["group"] for row in rows] == [0, 0, 0, 0, 1, 1]
    if name != "visual_probe_hard":
        assert all(len(row["reward_model"]["options"]) >= 4 for row in rows)
        assert not any(label in option for row in rows for option in row["reward_model"]["options"] for label in "()")
