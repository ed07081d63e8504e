# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Rows of parquet files as the dataset reads them, with images in every form, and broken ones among them.

No row embeds a picture: the dataset writes it to a file.
"""

from __future__ import annotations

import asyncio
import pickle
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from omegaconf import OmegaConf
from PIL import ExifTags, Image
from support.pictures import BROKEN_EXIF_JPEG, data_uri, encoded
from support.scripted import compose_config
from verl.utils.dataset.rl_dataset import RLHFDataset, get_dataset_class

from verl_mapo.names import AUDIT_PICTURE, AUDIT_TRUTH
from verl_mapo.rollout.decode import UnreadableImage
from verl_mapo.rollout.row_dataset import PathDataset, RowDataset, plain_image, use_row_dataset
from verl_mapo.rollout.row_messages import normal_form
from verl_mapo.settings import ConfigError

RED = encoded(Image.new("RGB", (40, 30), "red"))
BROKEN = encoded(Image.effect_noise((64, 64), 90), "PNG")[:200]


def opened(model, tmp_path, table: pa.Table | datasets.Dataset, kind: type = RowDataset, **settings) -> RowDataset:
    """A data set of a parquet file, of one of the dataset classes."""
    file = tmp_path / "rows.parquet"
    table.to_parquet(file) if isinstance(table, datasets.Dataset) else pq.write_table(table, file)
    config = OmegaConf.create({"cache_dir": str(tmp_path), "filter_overlong_prompts": False, **settings})
    return kind(str(file), model.tokenizer, config, model.processor)


def read(model, tmp_path, table: pa.Table | datasets.Dataset, kind: type = RowDataset, **settings) -> list[dict]:
    """The rows of such a data set."""
    dataset = opened(model, tmp_path, table, kind, **settings)
    return [dataset[index] for index in range(len(dataset))]


def prompts(number: int, text: str = "<image>what?") -> list[list[dict]]:
    return [[{"role": "user", "content": text}] for _ in range(number)]


def shown(row: dict) -> list[tuple[int, int]]:
    _, pictures = normal_form(row["raw_prompt"])
    return [picture.pixels().size for picture in pictures]


def test_bytes_become_files_and_broken_ones_cost_their_own_row(tiny_models, tmp_path, picture):
    images = [
        [{"bytes": RED, "path": None}],
        [{"bytes": None, "path": picture}],
        [{"bytes": BROKEN, "path": None}],
        [{"bytes": BROKEN_EXIF_JPEG, "path": "a.jpg"}],
        [{"bytes": None, "path": None}],
    ]
    table = pa.table({"prompt": prompts(5), "images": images})
    rows = read(tiny_models["qwen2_5_vl"], tmp_path, table)
    paths = [row["raw_prompt"][0]["content"][0]["image"] for row in rows]
    assert paths[1] == picture and paths[4] == ""
    assert [Path(paths[index]).read_bytes() for index in (0, 2, 3)] == [RED, BROKEN, BROKEN_EXIF_JPEG]
    assert all(Path(paths[index]).is_relative_to(tmp_path / "pictures") for index in (0, 2, 3))
    assert [shown(rows[index]) for index in (0, 1, 3)] == [[(40, 30)], [(448, 300)], [(28, 56)]]
    for index in (2, 4):
        with pytest.raises(UnreadableImage):
            shown(rows[index])
    with pytest.raises(OSError):
        read(tiny_models["qwen2_5_vl"], tmp_path, table, RLHFDataset)


def test_images_that_datasets_would_decode_are_left_to_the_worker(tiny_models, tmp_path):
    features = datasets.Features(
        {
            "prompt": [{"role": datasets.Value("string"), "content": datasets.Value("string")}],
            "images": datasets.List(datasets.Image()),
        }
    )
    entries = [{"bytes": content, "path": None} for content in (RED, BROKEN, BROKEN_EXIF_JPEG)]
    data = {"prompt": prompts(3), "images": [[entry] for entry in entries]}
    rows = read(tiny_models["qwen2_5_vl"], tmp_path, datasets.Dataset.from_dict(data, features))
    assert shown(rows[0]) == [(40, 30)] and shown(rows[2]) == [(28, 56)]
    with pytest.raises(UnreadableImage, match="truncated|broken"):
        shown(rows[1])


def test_sizes_of_a_row_are_kept_and_empty_keys_dropped(tiny_models, tmp_path, picture):
    images = [
        [{"image": picture, "max_pixels": 5000, "min_pixels": None}],
        [{"image": picture, "max_pixels": None}],
        [],
    ]
    parts = [
        {"type": "text", "text": "what?", "image_url": {"url": None}},
        {"type": "image_url", "text": None, "image_url": {"url": data_uri(RED)}},
    ]
    kind = pa.list_(pa.struct({"image": pa.string(), "max_pixels": pa.int64(), "min_pixels": pa.int64()}))
    rows = read(
        tiny_models["qwen2_5_vl"],
        tmp_path,
        pa.table({"prompt": prompts(3)[:2] + prompts(1, "what?"), "images": pa.array(images, kind)}),
    )
    assert rows[0]["raw_prompt"][0]["content"][0] == {"type": "image", "image": picture, "max_pixels": 5000}
    assert rows[1]["raw_prompt"][0]["content"][0] == {"type": "image", "image": picture}
    assert rows[2]["raw_prompt"][0]["content"] == "what?"
    (row,) = read(tiny_models["qwen2_5_vl"], tmp_path, pa.table({"prompt": [[{"role": "user", "content": parts}]]}))
    text, image = row["raw_prompt"][0]["content"]
    assert text == {"type": "text", "text": "what?"} and image["type"] == "image"
    assert image.keys() == {"type", "image"} and Path(image["image"]).read_bytes() == RED
    assert shown(row) == [(40, 30)]


@pytest.mark.parametrize("kwargs", [{}, {"size": {"shortest_edge": 3136, "longest_edge": 50176}}])
@pytest.mark.parametrize("workers", [None, 2])
def test_filter_leaves_out_long_prompts_only_and_says_how_many(tiny_models, tmp_path, picture, kwargs, workers, caplog):
    images = [
        [{"bytes": RED, "path": None}],
        [{"bytes": None, "path": picture}],
        [{"bytes": BROKEN, "path": None}],
        [{"bytes": None, "path": str(tmp_path / "missing.png")}],
        [],
        [],
        [{"bytes": RED, "path": None}],
    ]
    text = [prompts(1, f"{words}what?")[0] for words in ("<image>", "", 600 * "word ", "<image><image>")]
    asked = [text[0], text[0], text[0], text[0], text[1], text[2], text[3]]
    settings = {"filter_overlong_prompts": True, "filter_overlong_prompts_workers": workers, "max_prompt_length": 512}
    table = pa.table({"prompt": asked[:6], "images": images[:6]})
    rows = read(tiny_models["qwen2_5_vl"], tmp_path, table, mm_processor_kwargs=kwargs, **settings)
    assert len(rows) == 5 and [shown(row) for row in rows[:2]] == [[(40, 30)], [(448, 300)]]
    for row in rows[2:4]:
        with pytest.raises(UnreadableImage):
            shown(row)
    assert "1 of 6 rows are left out, because their prompts have more than data.max_prompt_length=512" in caplog.text
    bad = pa.table({"prompt": asked[6:], "images": images[6:]})
    with pytest.raises(UnreadableImage, match="2 x <image>, and its column of images .* has 1"):
        read(tiny_models["qwen2_5_vl"], tmp_path, bad, **settings)


FORMS = {
    "bytes": lambda content: {"bytes": content, "path": None},
    "data URI": data_uri,
    "decoded": lambda content: {"bytes": content, "path": None},
}


@pytest.mark.parametrize("megapixels", [4, 12])
@pytest.mark.parametrize("form", FORMS)
def test_row_carries_no_pixels(form, megapixels, tiny_models, tmp_path):
    width = round((megapixels * 1e6 * 4 / 3) ** 0.5)
    content = encoded(Image.linear_gradient("L").resize((width, width * 3 // 4)).convert("RGB"), "JPEG", quality=90)
    columns = {"images": [[FORMS[form](content)]], "figure": [{"bytes": content, "path": None}]}
    table = pa.table({"prompt": prompts(1), "extra_info": [{"index": 3, "preview": data_uri(content)}], **columns})
    if form == "decoded":  # verl's class gives decoded images to every row, whatever its data hold
        features = datasets.Features({**datasets.Dataset(table).features, "images": datasets.List(datasets.Image())})
        table = datasets.Dataset(table).cast(features)
    model = tiny_models["qwen2_5_vl"]
    (row,) = read(model, tmp_path, table)
    (stock,) = read(model, tmp_path, table, RLHFDataset)
    assert len(pickle.dumps(row)) < 3000, "a row is paths and text"
    assert len(pickle.dumps(stock)) > 100_000
    assert shown(row)[0] == (width, width * 3 // 4)
    stored = row["raw_prompt"][0]["content"][0]["image"]
    assert row["figure"] == {"bytes": None, "path": stored} and row["extra_info"] == {"index": 3, "preview": stored}
    assert row["prompt"] == row["raw_prompt"] and row["index"] == 3
    assert len([file for file in (tmp_path / "pictures").rglob("*") if file.is_file()]) == 1, "once for each content"
    images, _ = asyncio.run(RowDataset.process_vision_info(row["raw_prompt"], 14, None))
    assert images[0].size, "verl's own agent loops read the path as well"


def test_folder_is_the_one_that_is_set_and_one_that_cannot_be_written_stops_the_run(tiny_models, tmp_path):
    (tmp_path / "file").write_text("")
    table = pa.table({"prompt": prompts(1), "images": [[{"bytes": RED, "path": None}]]})
    (row,) = read(tiny_models["qwen2_5_vl"], tmp_path, table, picture_dir=str(tmp_path / "mine"))
    assert Path(row["raw_prompt"][0]["content"][0]["image"]).is_relative_to(tmp_path / "mine")
    blocked = str(tmp_path / "file/mine")
    dataset = opened(tiny_models["qwen2_5_vl"], tmp_path, table, picture_dir=blocked)
    with pytest.raises(ConfigError, match=r"data.picture_dir=.*file/mine .*for example data.picture_dir="):
        dataset.check_files()
    dataset.dataframe = dataset.dataframe.select([])
    dataset.check_files()


@pytest.mark.parametrize(
    ("loop", "kind"),
    [("visual_tool_agent", RowDataset), ("tool_agent", PathDataset), ("single_turn_agent", PathDataset)],
)
def test_dataset_is_that_of_the_agent_loop_unless_another_is_chosen(loop, kind):
    loop = f"actor_rollout_ref.rollout.agent.default_agent_loop={loop}"
    config = compose_config(loop)
    use_row_dataset(config)
    assert get_dataset_class(config.data) is kind
    config = compose_config(
        loop, "data.custom_cls.path=pkg://verl.utils.dataset.rl_dataset", "data.custom_cls.name=RLHFDataset"
    )
    use_row_dataset(config)
    assert get_dataset_class(config.data) is RLHFDataset


@pytest.mark.parametrize("form", ["bytes", "uri", "decoded", "path"])
def test_rows_of_other_agent_loops_show_what_verl_shows_and_carry_no_pixels(tiny_models, tmp_path, form):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6 if form == "decoded" else 1
    picture = Image.effect_noise((120, 80), 90).convert("RGBA" if form == "decoded" else "RGB")
    picture.save(tmp_path / "picture.png", exif=exif)
    content = (tmp_path / "picture.png").read_bytes()
    forms = {
        "bytes": {"bytes": content, "path": None},
        "uri": {"image": data_uri(content), "max_pixels": 4000},
        "decoded": {"bytes": content, "path": None},
        "path": {"image": str(tmp_path / "picture.png")},
    }
    words = [[{"role": "user", "content": "Write <|im_end|> and a <video> tag"}]]
    table = pa.table({"prompt": prompts(1) + words, "images": [[forms[form]], []]})
    if form == "decoded":
        features = datasets.Features({**datasets.Dataset(table).features, "images": datasets.List(datasets.Image())})
        table = datasets.Dataset(table).cast(features)
    model = tiny_models["qwen2_5_vl"]
    ours, stock = (read(model, tmp_path, table, kind) for kind in (PathDataset, RLHFDataset))
    one, other = (
        asyncio.run(kind.process_vision_info(rows[0]["raw_prompt"], 14, None))[0][0]
        for kind, rows in ((PathDataset, ours), (RLHFDataset, stock))
    )
    assert one.size == other.size and one.tobytes() == other.tobytes()
    assert len(pickle.dumps(ours[0])) < 3000 and isinstance(ours[0]["raw_prompt"][0]["content"][0]["image"], str)
    assert ours[1]["raw_prompt"] == stock[1]["raw_prompt"] == words[0]


def test_empty_image_of_a_row_keeps_its_place():
    assert plain_image(None) == plain_image("") == plain_image({"bytes": None, "path": None}) == {"image": ""}


def test_audited_rows_name_a_picture_of_another_row(tiny_models, tmp_path):
    paths = []
    for place in range(6):
        paths.append(str(tmp_path / f"{place}.png"))
        Image.new("RGB", (40, 30), (place, 0, 0)).save(paths[-1])
    images = [[path] for path in (paths[0], *paths)] + [[]]
    texts = [*prompts(7), *prompts(1, "what?")]
    table = pa.table({"prompt": texts, "images": images, "extra_info": [{"index": place} for place in range(8)]})
    pq.write_table(table, tmp_path / "rows.parquet")
    config = OmegaConf.create({"cache_dir": str(tmp_path), "filter_overlong_prompts": False})
    model = tiny_models["qwen2_5_vl"]
    dataset = RowDataset(str(tmp_path / "rows.parquet"), model.tokenizer, config, model.processor)
    assert AUDIT_PICTURE not in dataset[0]
    dataset.audited = lambda row: "yes" if row["index"] != 1 else ""
    named = [dataset[place][AUDIT_PICTURE] for place in range(8)]
    assert [dataset[place][AUDIT_TRUTH] for place in range(3)] == ["yes", "", "yes"]
    assert all(other in paths and other != own for other, [own] in zip(named[2:7], images[2:7], strict=True))
    assert named[1] == named[7] == "" and named == [dataset[place][AUDIT_PICTURE] for place in range(8)]
    dataset.dataframe = dataset.dataframe.select([0, 1])
    assert dataset[0][AUDIT_PICTURE] == ""
