# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Exported dialogues hold the texts that SFT trains on and the images that the model sees."""

from __future__ import annotations

import json

import pytest
from PIL import Image
from support.supervised import row_of, write_rows
from typer.testing import CliRunner

from verl_mapo.cli import app
from verl_mapo.coldstart.export import export
from verl_mapo.data.supervised import UNITS, zoom_turn
from verl_mapo.settings import ConfigError

TURNS = [zoom_turn("<think>Look.</think>", [0.1, 0.2, 0.5, 0.6], 0), "<think>Red.</think>\n<answer>red</answer>"]


@pytest.fixture
def file(picture, tmp_path):
    row = row_of(picture, TURNS)
    row["extra_info"]["more"] = json.dumps({"box_units": UNITS.value})
    return write_rows(tmp_path / "train.parquet", [row])


def read(path):
    return [json.loads(line) for line in path.open(encoding="utf-8")]


def test_sharegpt_has_the_texts_and_images_of_the_loop(supervised, tiny_models, file, tmp_path):
    rows = supervised(tiny_models["qwen3_vl"], file)
    done = export(rows, tmp_path / "out", "llamafactory")
    [dialogue] = read(done.file)
    said = [turn["value"] for turn in dialogue["conversations"]]
    assert [turn["from"] for turn in dialogue["conversations"]] == ["human", "gpt"] * 2
    assert [said[1], said[3]] == TURNS and said[0] == "<image>What colour is the square?"
    assert said[2].startswith("<tool_response>\n<image>Image 1, ") and said[2].endswith("\n</tool_response>")
    assert dialogue["system"].count('"name": "zoom"') == 1
    shown = rows.replay(0).output.multi_modal_data["images"]
    assert [Image.open(path).size for path in dialogue["images"]] == [image.size for image in shown]
    assert [Image.open(path).tobytes() for path in dialogue["images"]] == [image.tobytes() for image in shown]
    info = json.loads((tmp_path / "out" / "dataset_info.json").read_text())["verl_mapo"]
    assert info["file_name"] == done.file.name and set(info["columns"].values()) == set(dialogue)
    assert done.rows == 1 and done.most_pixels == max(image.width * image.height for image in shown)


def test_ms_swift_has_the_same_messages_with_roles(supervised, tiny_models, file, tmp_path):
    rows = supervised(tiny_models["qwen2_5_vl"], file)
    [dialogue] = read(export(rows, tmp_path / "out", "ms-swift").file)
    assert [message["role"] for message in dialogue["messages"]] == ["system"] + ["user", "assistant"] * 2
    assert "".join(message["content"] for message in dialogue["messages"]).count("<image>") == 2
    assert dialogue["messages"][2]["content"] != TURNS[0], "the boxes are in pixels"
    assert dialogue["messages"][4]["content"] == TURNS[1] and not (tmp_path / "out" / "dataset_info.json").exists()


def test_other_trainer_is_refused(supervised, tiny_models, file, tmp_path):
    with pytest.raises(ConfigError, match="use llamafactory or ms-swift"):
        export(supervised(tiny_models["qwen3_vl"], file), tmp_path / "out", "trl")


def test_folder_of_rows_is_refused(supervised, tiny_models, file):
    with pytest.raises(ConfigError, match="it holds rows"):
        export(supervised(tiny_models["qwen3_vl"], file), file.parent, "ms-swift")
    assert [*file.parent.iterdir()] == [file]


def test_command_exports_a_converted_folder(tiny_models, file, tmp_path):
    model = str(tiny_models["qwen3_vl"].folder)
    arguments = ["data", "export", str(file.parent), "--to", "ms-swift", "--model", model, "--out", str(tmp_path / "o")]
    done = CliRunner().invoke(app, [*arguments, "sft.workers=1", "sft.replays=null"])
    assert done.exit_code == 0, done.output
    assert "Wrote 1 dialogues" in done.stdout and len(read(tmp_path / "o" / "train.jsonl")) == 1


@pytest.fixture
def mixed(picture, tmp_path):
    """A row that is exported, two with a mark in a turn, and one without an image."""
    rows = [row_of(picture, ["<answer>red</answer>"]) for _ in range(4)]
    rows[1]["turns"] = ["The tag <image> shows it. <answer>red</answer>"]
    rows[2]["turns"] = ["It is the tag <video>. <answer>red</answer>"]
    rows[3] |= {"prompt": [{"role": "user", "content": "Which colour is a ripe tomato?"}], "images": []}
    return write_rows(tmp_path / "mixed.parquet", rows)


@pytest.mark.parametrize("trainer", ["llamafactory", "ms-swift"])
@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
def test_row_with_marks_in_its_text_is_left_out_and_named(supervised, tiny_models, mixed, tmp_path, trainer, family):
    done = export(supervised(tiny_models[family], mixed), tmp_path / "out", trainer)
    assert (done.rows, done.left_out) == (2, {"marks_in_text": 2})
    named = read(tmp_path / "out" / "left_out.jsonl")
    assert [(one["row"], one["reason"]) for one in named] == [(1, "marks_in_text"), (2, "marks_in_text")]
    assert [len(dialogue["images"]) for dialogue in read(done.file)] == [1, 0]


def test_row_without_a_system_message_is_exported_without_one(supervised, tiny_models, mixed, tmp_path):
    rows = supervised(tiny_models["qwen3_vl"], mixed)
    assert read(export(rows, tmp_path / "a", "ms-swift").file)[1]["messages"] == [
        {"role": "user", "content": "Which colour is a ripe tomato?"},
        {"role": "assistant", "content": "<answer>red</answer>"},
    ]
    dialogue = read(export(rows, tmp_path / "b", "llamafactory").file)[1]
    assert dialogue["system"] == "" and [turn["from"] for turn in dialogue["conversations"]] == ["human", "gpt"]


def test_rows_that_all_have_marks_in_their_texts_are_refused(supervised, tiny_models, picture, tmp_path):
    file = write_rows(tmp_path / "marks.parquet", [row_of(picture, ["<image> <answer>red</answer>"])])
    with pytest.raises(ConfigError, match="No row can be exported. Row 0: A message of the assistant has <image>"):
        export(supervised(tiny_models["qwen3_vl"], file), tmp_path / "out", "ms-swift")


def test_rows_that_are_all_left_out_are_refused_with_their_reasons(supervised, tiny_models, picture, tmp_path):
    rows = [row_of(picture, []), row_of(picture, ["<answer>red</answer>"])]
    rows[1]["extra_info"]["more"] = '{"box_units": "miles"}'
    rows[0]["extra_info"]["more"] = "{}"
    data = supervised(tiny_models["qwen2_5_vl"], write_rows(tmp_path / "rows.parquet", rows), "sft.max_left_out=1")
    with pytest.raises(ConfigError, match="No row can be exported: no_turns 1, unknown_units 1"):
        export(data, tmp_path / "out", "ms-swift")
