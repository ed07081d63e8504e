# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Files of benchmarks in their official layouts, with made questions: the columns are the official ones."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from verl_mapo.toy.dataset import write_split
from verl_mapo.toy.visual_search import VisualSearch

SIDES = (64, 48)
"""Width and height in pixels of the made images."""

FRUITS = ("apple", "pear", "plum", "fig", "None of these")


@lru_cache
def jpeg(place: int = 0, sides: tuple[int, int] = SIDES) -> bytes:
    """The bytes of an image; another one for another place."""
    file = io.BytesIO()
    Image.new("RGB", sides, (place % 256, place // 256, 90)).save(file, "JPEG")
    return file.getvalue()


def bytes_of(place: int = 0) -> dict[str, Any]:
    """An image as ``datasets`` writes it."""
    return {"bytes": jpeg(place % 7), "path": None}


@lru_cache
def base64_of(place: int = 0) -> str:
    return base64.b64encode(jpeg(place)).decode()


def letters(place: int, options: int = 4) -> dict[str, Any]:
    """Columns of VLMEvalKit's multiple choice; the letters take turns."""
    return dict(zip("ABCDE"[:options], FRUITS, strict=False)) | {"answer": "ABCDE"[place % options]}


def parquet(folder: Path, name: str, rows: list[dict[str, Any]]) -> None:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), file)


def tsv(folder: Path, name: str, rows: list[dict[str, Any]]) -> None:
    """A table as pandas writes it, in which a text with a tab, a line or quotes is quoted."""
    with (folder / name).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def lines(folder: Path, name: str, rows: list[dict[str, Any]]) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def image_file(folder: Path, name: str) -> str:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(jpeg())
    return name


Write = Callable[[Path, int], None]
WRITERS: dict[str, Write] = {}
"""Writes a number of questions of a benchmark in its official layout."""


def official(name: str, file: str, write: Callable[[Path, str, list], None] = parquet) -> Callable:
    """Registers a function that gives the row at a place."""

    def register(row: Callable[[int], dict[str, Any]]) -> Callable[[int], dict[str, Any]]:
        WRITERS[name] = lambda folder, count: write(folder, file, [row(place) for place in range(count)])
        return row

    return register


def vstar_questions(folder: Path, count: int) -> None:
    rows = []
    for place in range(count):
        category = ("direct_attributes", "relative_position")[place % 2]
        image = image_file(folder, f"{category}/sa_{place}.jpg")
        note = {"target_object": ["cup"], "bbox": [[4, 6, 10, 12]], "question": "What?", "options": list(FRUITS[:4])}
        (folder / image).with_suffix(".json").write_text(json.dumps(note, indent=1))
        text = "What is it?\n(A) apple\n(B) pear\n(C) plum\n(D) fig\nAnswer with the option's letter from the given "
        rows.append(
            {"image": image, "text": text + "choices directly.", "category": category, "label": "ABCD"[place % 4]}
            | {"question_id": place}
        )
    lines(folder, "test_questions.jsonl", rows)


def vstar_annotations(folder: Path, count: int) -> None:
    vstar_questions(folder, count)
    (folder / "test_questions.jsonl").unlink()


WRITERS["vstar"] = vstar_questions


@official("hrbench_4k", "hr_bench_4k.parquet")
@official("hrbench_8k", "hr_bench_8k.tsv", tsv)
def hrbench(place: int) -> dict[str, Any]:
    group, cycle = divmod(place, 4)
    options = [FRUITS[(place + cycle) % 4] for place in range(4)]
    return {
        "index": place,
        "question": 'What is on the "table"\nof the room?',
        "image": base64_of(group % 5),
        **dict(zip("ABCD", options, strict=True)),
        "answer": "ABCD"[options.index("apple")],
        "category": ("single", "cross")[group % 2],
        "cycle_category": f"cycle_{cycle}",
    }


@official("mme_realworld_lite", "data/train-00000-of-00004.parquet")
def mme_realworld(place: int) -> dict[str, Any]:
    return {
        "bytes": base64_of(place % 3),
        "index": f"perception/{place}",
        "question": "Where is the crane?",
        "multi-choice options": [f"({letter}) {fruit}" for letter, fruit in zip("ABCDE", FRUITS, strict=True)],
        "answer": "ABCDE"[place % 5],
        "category": ("Perception/Monitoring", "Reasoning/Autonomous_Driving")[place % 2],
        "l2-category": "position",
    }


def visual_probe(level: str) -> Write:
    def write(folder: Path, count: int) -> None:
        rows = [
            {
                "images": [image_file(folder, f"data/{place}.jpg") and f"VisualProbe_{level}/data/{place}.jpg"],
                "problem": "<image>What color is the lamp?",
                "solution": ("White.", "It is to the left of the door.")[place % 2],
                "doc_id": f"visual_probe_{place}",
                "data_source": f"visual_probe_{level.lower()}",
            }
            for place in range(count)
        ]
        (folder / "val.json").write_text(json.dumps(rows))

    return write


WRITERS |= {f"visual_probe_{level.lower()}": visual_probe(level) for level in ("Easy", "Medium", "Hard")}


@official("zoombench", "data/test.parquet")
def zoombench(place: int) -> dict[str, Any]:
    mcq = place % 3 > 0
    return {
        "id": f"q{place}",
        "query": "<image>Which?\nA. apple\nB. pear\nC. plum\nD. fig" if mcq else "<image>How many cups are there?",
        "response": "ABCD"[place % 4] if mcq else str(place % 9),
        "question_type": "mcq" if mcq else "blank",
        "bbox": [2.0, 3.0, 20.0, 30.0],
        "image": bytes_of(place),
        "crop_image": bytes_of(place),
    }


@official("treebench", "TreeBench.tsv", tsv)
def treebench(place: int) -> dict[str, Any]:
    return {
        "index": place,
        "question": "In which direction is the sign?",
        "multi-choice options": "A. apple\nB. pear\nC. plum\nD. fig",
        "category": ("Perception/OCR", "Reasoning/Ordering")[place % 2],
        "l2-category": "x",
        "target_instances": "[[2.0, 3.0, 20.0, 30.0], [5, 5, 9, 9]]",
        "image": base64_of(place % 3),
        **letters(place),
    }


def o3_bench(folder: Path, count: int) -> None:
    rows = [
        {
            "file_name": image_file(folder, f"test/images/{place}.jpg").removeprefix("test/"),
            "id": f"o{place}",
            "subset": ("chart", "map")[place % 2],
            "question": "Which line is longest?",
            "options": "A. apple\nB. pear\nC. plum\nD. fig\nE. 2\nF. No right option",
            "answer": "ABCDEF"[place % 6],
        }
        for place in range(count)
    ]
    lines(folder, "test/metadata.jsonl", rows)


WRITERS["o3_bench"] = o3_bench


def blink(folder: Path, count: int) -> None:
    for kind in range(2):
        rows = [
            {
                "idx": f"val_{kind}_{place}",
                "sub_task": ("Jigsaw", "Counting")[kind],
                "question": "Which image fits?",
                "prompt": "Which image fits? (A) the second image (B) the third image",
                "choices": ["the second image", "the third image"],
                "answer": ("(A)", "(B)")[place % 2],
                "image_1": bytes_of(place),
                "image_2": bytes_of(place + 1) if kind == 0 else None,
                "image_3": None,
                "image_4": None,
            }
            for place in range(kind, count, 2)
        ]
        parquet(folder, f"{('Jigsaw', 'Counting')[kind]}/val-00000-of-00001.parquet", rows)
        parquet(folder, f"{('Jigsaw', 'Counting')[kind]}/test-00000-of-00001.parquet", rows[:1])


WRITERS["blink"] = blink


def cv_bench(folder: Path, count: int) -> None:
    rows = [
        {
            "idx": place,
            "type": ("2D", "3D")[place % 2],
            "task": ("Count", "Depth")[place % 2],
            "image": bytes_of(place),
            "question": "How many cups?",
            "choices": ["1", "2", "3"],
            "answer": f"({'ABC'[place % 3]})",
            "source": (("ADE20K", "COCO")[place % 4 // 2], "Omni3D")[place % 2],
        }
        for place in range(count)
    ]
    parquet(folder, "test_2d.parquet", rows[::2])
    parquet(folder, "test_3d.parquet", rows[1::2])


WRITERS["cv_bench"] = cv_bench


@official("mmstar", "mmstar.parquet")
def mmstar(place: int) -> dict[str, Any]:
    return {
        "index": place,
        "question": "<image 1>\nWhich is it?\nOptions: A: apple, B: red, ripe pear, C: plum, D: fig",
        "image": jpeg(place % 7),
        "answer": "ABCD"[place % 4],
        "category": ("math", "coarse perception")[place % 2],
        "l2_category": ("geometry", "image emotion")[place % 2],
        "meta_info": {"source": "x"},
    }


@official("realworldqa", "data/test-00000-of-00002.parquet")
def realworldqa(place: int) -> dict[str, Any]:
    ask = "Please answer directly with only the letter of the correct option and nothing else."
    free = "How many cars?\nPlease answer directly with a single word or number."
    question = f"Which way?\n\nA. Left\nB. Right\nC. Straight\n{ask}"
    return {
        "image": bytes_of(place),
        "question": (question, free)[place % 2],
        "answer": ("ABC"[place % 3], str(place % 5))[place % 2],
    }


@official("pope", "data/test-00000-of-00003.parquet")
def pope(place: int) -> dict[str, Any]:
    return {
        "id": str(place),
        "question_id": str(place // 3),
        "question": "Is there a cup in the image?",
        "answer": ("yes", "no")[place % 2],
        "image_source": "COCO_val2014_1",
        "image": bytes_of(place),
        "category": ("random", "popular", "adversarial")[place % 3],
    }


@official("hallusion_bench", "data/image-00000-of-00001.parquet")
def hallusion(place: int) -> dict[str, Any]:
    return {
        "category": ("VD", "VS")[place % 2],
        "subcategory": "chart",
        "visual_input": "1",
        "set_id": str(place // 8),
        "figure_id": str(place // 2 % 2),
        "sample_note": "x",
        "question_id": str(place // 4 % 2),
        "question": "Is the left circle larger?",
        "gt_answer_details": "x",
        "gt_answer": ("1", "0")[place % 2],
        "filename": "x.png",
        "image": bytes_of(place),
    }


@official("mathvista", "data/testmini-00000-of-00001.parquet")
def mathvista(place: int) -> dict[str, Any]:
    choices = ["3/11", "8/11", "6/11"]
    multi = place % 2 == 0
    return {
        "pid": str(place + 1),
        "question": "What fraction is blue?",
        "image": "images/1.jpg",
        "decoded_image": bytes_of(place),
        "choices": choices if multi else None,
        "unit": None if multi else "g",
        "precision": None if multi else 1.0,
        "answer": choices[place % 3] if multi else "1.2",
        "question_type": "multi_choice" if multi else "free_form",
        "answer_type": "text" if multi else "float",
        "metadata": {"category": "math-targeted-vqa", "task": "figure question answering"},
        "query": "Hint",
    }


@official("mathverse", "testmini.parquet")
def mathverse(place: int) -> dict[str, Any]:
    multi = place % 2 == 0
    versions = ("Text Dominant", "Text Lite", "Vision Intensive", "Vision Dominant", "Vision Only")
    question = "As shown, find x.\nChoices:\nA:1\nB:2\nC:3\nD:4" if multi else "Find the area."
    return {
        "sample_index": str(place + 1),
        "problem_index": str(place // 5 + 1),
        "problem_version": versions[place % 5],
        "question": "" if place % 5 == 4 else question,
        "image": bytes_of(place),
        "answer": "ABCD"[place % 4] if multi else r"2\sqrt{3}",
        "question_type": "multi-choice" if multi else "free-form",
        "metadata": {"split": "testmini"},
        "query_wo": "x",
        "query_cot": "x",
    }


@official("mathvision", "data/test-00000-of-00001.parquet")
def mathvision(place: int) -> dict[str, Any]:
    multi = place % 2 == 0
    return {
        "id": str(place + 1),
        "question": "How many squares are in <image1>?",
        "options": ["1", "2", "A", "4", "5"] if multi else [],
        "image": "images/1.jpg",
        "decoded_image": bytes_of(place),
        "answer": "ABCDE"[place % 5] if multi else "12",
        "solution": None,
        "level": place % 5 + 1,
        "subject": "counting",
    }


def we_math(folder: Path, count: int) -> None:
    keys = ["2steps_1", "2steps_2", "2steps_multi"] * 360
    keys += ["3steps_1", "3steps_2", "3steps_3", "3steps_multi"] * 165
    rows, problem = [], 0
    for place, key in enumerate(keys[:count]):
        rows.append(
            {
                "ID": str(problem),
                "split": "testmini",
                "knowledge concept": "Angles",
                "question": "Find x.",
                "option": "A. 10°; B. 20°; C. 30°; D. 40°; E. No correct answer",
                "answer": "ABCDE"[place % 5],
                "image_path": bytes_of(place),
                "key": key,
                "question number": place,
                "knowledge concept description": "x",
            }
        )
        problem += key.endswith("multi")
    parquet(folder, "data/testmini-00000-of-00001.parquet", rows)


WRITERS["we_math"] = we_math


@official("logicvista", "data/test-00000-of-00001.parquet")
def logicvista(place: int) -> dict[str, Any]:
    return {
        "id": str(place),
        "question": "Which one comes next? Select from A, B, C, and D. (A) one (B) two (C) three (D) four",
        "answer": ("C", "A, D")[place % 2],
        "reasoning": "x",
        "image": bytes_of(place),
        "skill": ["inductive"],
    }


def dynamath(folder: Path, count: int) -> None:
    for variant in range(1, 11):
        rows = [
            {
                "id": str(place),
                "question": ("What is f(1)?", "Is it? choice: (A) even (B) odd", "Round?")[place % 3],
                "image": "images/1.png",
                "decoded_image": bytes_of(place),
                "ground_truth": ("1.5", "B", "x^2")[place % 3],
                "answer_type": ("float", "multiple choice", "text")[place % 3],
                "subject": "algebra",
                "knowledge_level": "high school",
            }
            for place in range(count // 10)
        ]
        parquet(folder, f"data/sample_variant{variant}-00000-of-00001.parquet", rows)


WRITERS["dynamath"] = dynamath


def mmmu_row(place: int) -> dict[str, Any]:
    multi = place % 9 > 0
    row = {
        "id": f"validation_{('Art_Theory', 'Math')[place % 2]}_{place}",
        "question": "Compare <image 1> with <image 2>, and <image 1> again." if place % 2 else "What is shown?",
        "options": "['<image 3>', 'a \"b\"', \"it's\"]" if multi else "[]",
        "explanation": "x",
        "image_1": bytes_of(place),
        "image_2": bytes_of(place + 1),
        "image_3": bytes_of(place + 2),
        "answer": "ABC"[place % 3] if multi else ("4.5", "['$6', '6 dollars']")[place % 2],
        "question_type": "multiple-choice" if multi else "open",
        "subfield": "x",
        "topic_difficulty": "Easy",
        "img_type": "x",
        "subject": "Math",
    }
    return row


def mmmu_val(folder: Path, count: int) -> None:
    for kind, subject in enumerate(("Art_Theory", "Math")):
        rows = [mmmu_row(place) for place in range(kind, count, 2)]
        parquet(folder, f"{subject}/validation-00000-of-00001.parquet", rows)


WRITERS["mmmu_val"] = mmmu_val


@official("mmmu_pro", "standard (10 options)/test-00000-of-00002.parquet")
def mmmu_pro(place: int) -> dict[str, Any]:
    options = str([f"option {number}" for number in range(10)])
    return mmmu_row(place) | {"id": f"test_{place}", "options": options, "answer": "ABCDEFGHIJ"[place % 10]}


@official("geo3k", "data/test-00000-of-00001.parquet")
def geo3k(place: int) -> dict[str, Any]:
    return {
        "images": [bytes_of(place)],
        "problem": "<image>Find x. Round to the nearest tenth.",
        "answer": (r"2 \sqrt { 3 }", "17")[place % 2],
    }


@official("mmk12", "data/test-00000-of-00001.parquet")
def mmk12(place: int) -> dict[str, Any]:
    return {
        "id": f"m{place}",
        "image": bytes_of(place),
        "question": "<image>Which is right?\nA. $$10.5$$\nB. 2.3.\nC. none\nD. all",
        "answer": "ABCD"[place % 4],
        "subject": "physics",
    }


def clevr_count(folder: Path, count: int) -> None:
    name = "BUAADreamer_clevr_count_70k"
    tail = "\nYou first think through the reasoning process as an internal monologue. The answer MUST BE in \\boxed{}."
    rows = []
    for place in range(count):
        image_file(folder, f"images/{name}/{name}/{place}.png")
        said = [("user", f"<image>How many items are there?{tail}"), ("assistant", str(place % 8))]
        rows.append(
            {
                "messages": [{"role": role, "content": content} for role, content in said],
                "images": [f"./data/images/{name}/{place}.png"],
            }
        )
    parquet(folder, f"data/{name}-00000-of-00001.parquet", rows)


WRITERS["clevr_count"] = clevr_count


def toy(folder: Path, count: int) -> None:
    """The scenes as ``verl-mapo toy`` writes them."""
    folder.mkdir(parents=True, exist_ok=True)
    write_split(VisualSearch(), 0, "test", count, folder, folder, workers=1)


WRITERS["toy"] = toy


def written(name: str, folder: Path, count: int) -> Path:
    """A folder with a number of questions of a benchmark."""
    folder.mkdir(parents=True, exist_ok=True)
    WRITERS[name](folder, count)
    return folder


def rows_of(file: Path) -> Iterator[dict[str, Any]]:
    yield from pq.read_table(file).to_pylist()
