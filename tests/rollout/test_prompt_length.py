# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The length of a prompt that the filter of the data measures is that of the prompt that the loop shows."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.pictures import BROKEN_EXIF_JPEG, data_uri, encoded
from support.scripted import compose_config, play

from verl_mapo.rollout.decode import UnreadableImage, head_size
from verl_mapo.rollout.prompt_length import PromptLength
from verl_mapo.rollout.row_dataset import RowDataset
from verl_mapo.rollout.row_pictures import Picture

LONG = ["data.max_prompt_length=8192", "actor_rollout_ref.rollout.max_model_len=16384"]
CAPPED = "visual_tool.max_image_pixels=50176"
LARGE = "+data.mm_processor_kwargs={min_pixels: 3136, max_pixels: 401408}"

SIDES = st.integers(20, 400)
ASKED = st.sampled_from([{}, {"max_pixels": 20000}, {"resized_height": 56, "resized_width": 112}])


def blank(size: tuple[int, int], orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.new("RGB", size).save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


@settings(max_examples=5)
@given(
    pictures=st.lists(st.tuples(SIDES, SIDES, st.sampled_from([1, 6]), ASKED), max_size=3),
    question=st.sampled_from(["What?", "<|image_pad|> spelled out", "<tools>[]</tools> and a question"]),
    cap=st.sampled_from([[], [CAPPED]]),
    describe=st.sampled_from(["before", "both"]),
)
def test_length_is_that_of_the_prompt_of_the_loop(tiny_models, pictures, question, cap, describe):
    for model in tiny_models.values():
        config = compose_config(*LONG, *cap, f"visual_tool.describe={describe}")
        images = [
            {"type": "image", "image": data_uri(blank((width, height), turn)), **asked}
            for width, height, turn, asked in pictures
        ]
        prompt = [{"role": "user", "content": [*images, {"type": "text", "text": question}]}]
        output = play(model, config, prompt, ["<answer>red</answer>"])
        assert PromptLength(config, model.tokenizer, model.processor)(prompt) == len(output.prompt_ids)


@pytest.mark.parametrize("content", [BROKEN_EXIF_JPEG, encoded(Image.new("RGB", (28, 56)), "PNG")])
def test_head_of_a_file_tells_its_size(content, tmp_path):
    (tmp_path / "picture").write_bytes(content)
    assert sorted(head_size(content)) == sorted(head_size(str(tmp_path / "picture"))) == [28, 56]
    assert sorted(Picture(f"file://{tmp_path}/picture").stored_size()) == [28, 56]


@pytest.mark.parametrize("content", [b"", b"no image", None])
def test_file_without_a_size_is_unreadable(content, tmp_path):
    with pytest.raises(UnreadableImage):
        head_size(str(tmp_path / "missing") if content is None else content)


def kept(model, tmp_path, config, rows: list[dict]) -> int:
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    return len(RowDataset(str(tmp_path / "rows.parquet"), model.tokenizer, config.data, model.processor))


def test_filter_keeps_large_images_that_the_loop_shows_small(tiny_models, tmp_path):
    model = tiny_models["qwen2_5_vl"]
    Image.new("RGB", (448, 448)).save(tmp_path / "large.png")  # 256 tokens uncapped, and 64 as shown
    row = {"images": [str(tmp_path / "large.png")], "prompt": [{"role": "user", "content": "<image>What?"}]}
    base = ["data.filter_overlong_prompts=true", "data.filter_overlong_prompts_workers=null"]
    base += ["visual_tool.tools=[zoom]", f"+data.cache_dir={tmp_path}", LARGE]
    config = compose_config(*base, CAPPED)
    length = PromptLength(config, model.tokenizer, model.processor)(
        [{"role": "user", "content": [{"type": "image", "image": row["images"][0]}, {"type": "text", "text": "What?"}]}]
    )
    rows = [row, {**row, "images": [str(tmp_path / "missing.png")]}]
    for limit, workers, expected in ((length, 2, 2), (length - 1, "null", 1)):
        limits = [f"data.max_prompt_length={limit}", f"data.filter_overlong_prompts_workers={workers}"]
        assert kept(model, tmp_path, compose_config(*base, CAPPED, *limits), rows) == expected
    assert kept(model, tmp_path, compose_config(*base, f"data.max_prompt_length={length}"), rows) == 1


def test_rows_of_other_loops_are_measured_as_verl_shows_them(tiny_models, tmp_path):
    model = tiny_models["qwen2_5_vl"]
    Image.new("RGB", (448, 448)).save(tmp_path / "large.png")
    row = {"images": [str(tmp_path / "large.png")], "prompt": [{"role": "user", "content": "<image>What?"}]}
    config = compose_config("data.filter_overlong_prompts=true", CAPPED, LARGE, "data.max_prompt_length=250")
    assert kept(model, tmp_path, config, [{**row, "agent_name": "single_turn_agent"}]) == 0
