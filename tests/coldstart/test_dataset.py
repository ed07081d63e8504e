# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Rows for SFT have the tokens, masks, features and positions that RL feeds for the same trajectory."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from support.scripted import call, compose_config, play, verl_inputs
from support.supervised import row_of, write_rows
from torch.utils.data import DataLoader
from verl.utils.dataset.dataset_utils import SFTTensorCollator
from verl.utils.dataset.multiturn_sft_dataset import MultiTurnSFTDataset

from verl_mapo.coldstart.replay import own_part
from verl_mapo.rollout import prompts
from verl_mapo.rollout.tag_tokens import opens_thought
from verl_mapo.settings import ConfigError

FAMILIES = ("toy qwen2_5_vl", "toy qwen3_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_thinking", "qwen3_5")
THOUGHTS = ("The square is small.", "The crop shows red.")
TURNS = [
    f"<think>\n{THOUGHTS[0]}\n</think>\n\n{call((60, 40, 300, 200)).partition('</think>')[2].strip()}",
    f"<think>\n{THOUGHTS[1]}\n</think>\n\n<answer>red</answer>",
]


@pytest.fixture(params=FAMILIES)
def model(request, tiny_models, released_models):
    kind, _, name = request.param.rpartition(" ")
    return (tiny_models if kind else released_models)[name]


def rl_output(model, dataset):
    """The rollout of RL whose model samples the turns of the first row."""
    config = compose_config("data.max_prompt_length=4096", "data.max_response_length=8192")
    row = dataset.rows[0]
    prompt = play(model, config, row["raw_prompt"], [""]).prompt_ids
    turns = [own_part(text, opens_thought(model.tokenizer, prompt)) for text in row["turns"]]
    return play(model, config, row["raw_prompt"], turns)


def assert_same_as_rl(item, model, output):
    prompt = len(output.prompt_ids)
    assert item["input_ids"].tolist() == output.prompt_ids + output.response_ids
    assert item["loss_mask"].tolist() == [0] * prompt + output.response_mask
    expected = verl_inputs(model, output)
    positions = expected.pop("position_ids")[0]
    assert torch.equal(item["position_ids"], positions)
    assert item["multi_modal_inputs"].keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(item["multi_modal_inputs"][name], value), name


def test_a_row_is_what_rl_feeds_for_the_same_trajectory(supervised, model, picture, tmp_path):
    dataset = supervised(model, write_rows(tmp_path / "rows.parquet", [row_of(picture, TURNS)]))
    item, output = dataset[0], rl_output(model, dataset)
    assert_same_as_rl(item, model, output)
    trained = model.tokenizer.decode(item["input_ids"][item["loss_mask"].bool()])
    assert all(thought in trained for thought in THOUGHTS) and trained.count("<|im_end|>") == 2
    assert "Image 1" not in trained and "red square" in trained and dataset.verdicts[0].calls == 1
    thinks = opens_thought(model.tokenizer, output.prompt_ids)
    assert trained.count("<think>") == (0 if thinks else 2)


def stock_row(model, dataset):
    """The same dialogue as a row of verl's own data set: all messages with their images."""
    shown = dataset.replay(0)
    images = shown.output.multi_modal_data["images"]
    observation = prompts.observation((shown.trajectory.turns[0].observation, images[1]))
    text = "".join(part.get("text", "<image>") for part in observation["content"])
    system = prompts.declare([], dataset.replayer._loop.tools.values(), "before")[0]
    user = dataset.rows.dataframe[0]["prompt"][0]
    said = [{"role": "assistant", "content": turn} for turn in TURNS]
    return {"messages": [system, user, said[0], {"role": "user", "content": text}, said[1]]}, images


def stock_item(model, dataset, tmp_path, **settings):
    """A row as verl's MultiTurnSFTDataset renders it, message by message."""
    row, images = stock_row(model, dataset)
    files = []
    for place, image in enumerate(images):
        image.save(tmp_path / f"{place}.png")
        files.append({"image": f"file://{tmp_path}/{place}.png"})
    file = write_rows(tmp_path / "stock.parquet", [{**row, "images": files}])
    config = OmegaConf.create({"pad_mode": "no_padding", "max_length": 20_000, **settings})
    return MultiTurnSFTDataset([str(file)], model.tokenizer, config, model.processor)[0]


def test_a_row_rendered_message_by_message_is_not_what_rl_feeds(supervised, released_models, picture, tmp_path):
    """verl's own data set refuses the dialogue of a thinking model, or loses its thoughts if it is told to go on."""
    model = released_models["qwen3_vl_thinking"]
    dataset = supervised(model, write_rows(tmp_path / "rows.parquet", [row_of(picture, TURNS)]))
    with pytest.raises(AssertionError, match="may not equal"):
        stock_item(model, dataset, tmp_path)
    stock = stock_item(model, dataset, tmp_path, ignore_input_ids_mismatch=True)
    text = model.tokenizer.decode(stock["input_ids"])
    assert not any(thought in text for thought in THOUGHTS)
    with pytest.raises(AssertionError):
        assert_same_as_rl({**dataset[0], **stock}, model, rl_output(model, dataset))


def test_verls_loader_batches_rows_with_and_without_crops(supervised, tiny_models, picture, tmp_path):
    rows = [row_of(picture, TURNS), row_of(picture, TURNS[1:])]
    dataset = supervised(tiny_models["qwen2_5_vl"], write_rows(tmp_path / "rows.parquet", rows))
    (batch,) = DataLoader(dataset, batch_size=2, collate_fn=SFTTensorCollator("no_padding"))
    assert batch["input_ids"].offsets().diff().tolist() == dataset.lengths
    assert [len(part.data["image_grid_thw"]) for part in batch["multi_modal_inputs"]] == [2, 1]


@pytest.fixture
def mixed(picture, tmp_path):
    """Four rows: a good one, one whose box does not exist, one whose image does not, and one without an answer."""
    refused = call((400, 400, 10, 10))
    rows = [row_of(picture, TURNS), row_of(picture, [refused, *TURNS]), row_of("/absent.png", TURNS)]
    return write_rows(tmp_path / "mixed.parquet", [*rows, row_of(picture, TURNS[:1])])


def test_rows_that_the_loop_does_not_follow_are_counted_and_left_out(supervised, tiny_models, mixed, caplog):
    model = tiny_models["qwen2_5_vl"]
    with pytest.raises(ConfigError, match=r"3 of 4 rows .*refused_call 1.*set it to 0.75"):
        supervised(model, mixed)
    dataset = supervised(model, mixed, "sft.max_left_out=0.75")
    assert dataset.kept == [0] and dataset.left_out() == {"refused_call": 1, "unreadable_image": 1, "unfinished": 1}
    assert "3 of 4 rows" in caplog.text and "unreadable_image 1" in caplog.text
    assert supervised(model, mixed, "sft.max_left_out=0.5", "sft.refused_calls=keep").kept == [0, 1]


def test_rows_are_replayed_once_for_all_starts_with_the_same_settings(
    supervised, tiny_models, mixed, tmp_path, monkeypatch
):
    model, kept = tiny_models["qwen2_5_vl"], ("sft.max_left_out=0.75", f"sft.replays={tmp_path}/replays")
    first = supervised(model, mixed, *kept)
    (file,) = (tmp_path / "replays").glob("*.jsonl")
    assert [json.loads(line)["row"] for line in file.read_text().splitlines()] == [0, 1, 2, 3]
    replay = type(first).replay
    monkeypatch.setattr(type(first), "replay", lambda *_: pytest.fail("a row was replayed again"))
    assert supervised(model, mixed, *kept).verdicts == first.verdicts
    monkeypatch.setattr(type(first), "replay", replay)
    supervised(model, mixed, *kept, "visual_tool.max_crop_pixels=20000")
    assert len([*(tmp_path / "replays").glob("*.jsonl")]) == 2


def test_an_image_that_changes_during_the_run_stops_it(supervised, tiny_models, picture, tmp_path):
    copy = tmp_path / "copy.png"
    shutil.copy(picture, copy)
    dataset = supervised(tiny_models["qwen2_5_vl"], write_rows(tmp_path / "rows.parquet", [row_of(copy, TURNS)]))
    Image.new("RGB", (60, 60)).save(copy)
    with pytest.raises(RuntimeError, match="Row 0 has changed since it was checked"):
        dataset[0]


def test_rows_without_turns_are_refused_with_the_columns_that_there_are(supervised, tiny_models, picture, tmp_path):
    row = {name: value for name, value in row_of(picture, []).items() if name != "turns"}
    with pytest.raises(ConfigError, match="has no column turns; it has data_source, prompt"):
        supervised(tiny_models["qwen2_5_vl"], write_rows(tmp_path / "rows.parquet", [row]))


def test_a_configuration_without_the_tools_is_refused(tiny_models):
    from verl_mapo.coldstart.dataset import SupervisedDataset

    with pytest.raises(ConfigError, match="no node visual_tool: start the run with verl-mapo sft"):
        SupervisedDataset("x", tiny_models["qwen2_5_vl"].tokenizer, OmegaConf.create({"data": {}}).data)


UNREADABLE = [
    {"prompt": None},
    {"prompt": "text"},
    {"images": [5]},
    {"extra_info": "text"},
    {"prompt": [{"role": "user", "content": "no mark"}]},
    {"prompt": [{"role": "user", "content": "<image><image>two marks"}]},
    {"prompt": [{"role": "user", "content": "<image><video>what?"}]},
    {"images": None},
    {"prompt": [{"role": "user", "content": "<video>what?"}], "images": None},
    {"videos": ["a.mp4"]},
]


def test_rows_that_verl_cannot_read_are_counted(supervised, tiny_models, picture, tmp_path):
    for number, fault in enumerate(UNREADABLE):
        file = write_rows(tmp_path / f"{number}.parquet", [{**row_of(picture, TURNS), **fault}])
        dataset = supervised(tiny_models["qwen2_5_vl"], file, "sft.max_left_out=1")
        assert dataset.left_out() == {"unreadable_row": 1}, fault
        assert "verl's data set cannot read the row" in dataset.verdicts[0].findings[0][1]


@pytest.mark.parametrize(
    ("text", "words"), [("{", "cannot be read"), ("", "cannot be read"), ('{"turns": []}', "has no column prompt")]
)
def test_file_without_rows_for_sft_is_refused_in_words(supervised, tiny_models, tmp_path, text, words):
    file = tmp_path / "rows.jsonl"
    file.write_text(text)
    with pytest.raises(ConfigError, match=words):
        supervised(tiny_models["qwen2_5_vl"], file)
