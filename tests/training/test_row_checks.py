# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The check of the messages and pictures in the data at the start of a run."""

from __future__ import annotations

from typing import Any

import pytest
from datasets import Dataset
from support.scripted import compose_config

from verl_mapo.settings import ConfigError
from verl_mapo.training.config_checks import check_rows
from verl_mapo.training.row_checks import check_steps

GOOD = {
    "prompt": [{"role": "user", "content": "<image>what?"}],
    "images": [{"image": "a.png"}],
    "videos": [],
    "audios": [],
}


def rows(*changes: dict[str, Any]) -> Dataset:
    """A good row, and rows that differ from it."""
    return Dataset.from_list([GOOD, *(GOOD | change for change in changes)])


def said(text: str) -> list[dict]:
    return [{"role": "user", "content": text}]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"videos": ["a.mp4"]}, "it holds video, and the visual tools work on images only"),
        ({"audios": ["a.wav"]}, "it holds audio"),
        ({"prompt": said("<video>what?"), "images": []}, "it holds video"),
        ({"prompt": said("<image><image>what?")}, r"its prompt has 2 x <image>, and its column of images .* has 1"),
        ({"prompt": said("what?")}, "its prompt has 0 x <image>"),
        ({"images": []}, "has 0; write one <image> for each"),
        ({"images": [{"image": "https://example.org/a.png"}]}, "is on a server, and a run downloads nothing"),
        ({"images": [{"image": "a.png", "max_pixels": 3, "min_pixels": 9}]}, "a.png: its min_pixels=9 is above"),
        ({"images": [{"image": "a.png", "resized_width": 9}]}, "only one of resized_height and resized_width"),
        ({"images": [{"image": "a.png", "max_pixels": -1}]}, "its max_pixels is -1"),
        ({"images": [{"image_path": "a.png"}]}, "an image of it has image_path, and its picture is not under bytes"),
        ({"images": [{"image": None, "source": {"data": "iVBORw0"}}]}, "an image of it has source"),
        (
            {"prompt": [{"role": "system", "content": "See <image>."}, *said("what?")]},
            "it has <image> in its system message",
        ),
    ],
)
def test_row_that_cannot_be_shown_is_refused_by_its_number(change, sentence):
    message = "In the data, row 1 cannot be shown to the model: .*" + sentence
    for datasets in ([rows(change)], [rows(), rows(change)]):
        with pytest.raises(ConfigError, match=message):
            check_rows(compose_config(), *datasets)


@pytest.mark.parametrize(("steps", "logged"), [("null", False), (6, False), (7, True)])
def test_steps_beyond_the_last_epoch_are_logged(steps, logged, caplog):
    config = compose_config(
        "data.train_batch_size=4", "trainer.total_epochs=2", f"trainer.total_training_steps={steps}"
    )
    with caplog.at_level("WARNING"):
        check_steps(config, 15)
    assert ("trainer.total_epochs=2 x 3 steps end the run after step 6" in caplog.text) == logged
    assert ("Set trainer.total_epochs=3." in caplog.text) == logged


def test_data_that_fill_no_batch_are_refused_unless_they_are_only_evaluated():
    batch = "data.train_batch_size=4"
    with pytest.raises(ConfigError, match="train_batch_size=4, but there are 3 rows .* set it to at most 3"):
        check_steps(compose_config(batch), 3)
    check_steps(compose_config(batch, "trainer.val_only=true"), 3)


def test_data_without_messages_are_refused_with_their_columns():
    data = Dataset.from_list([{"conversations": said("what?"), "image": "a.png"}])
    with pytest.raises(ConfigError, match="data.prompt_key=prompt is no column of .* conversations, image: set"):
        check_rows(compose_config(), data)


@pytest.mark.parametrize("empty", [None, "", {"bytes": None, "path": None}, {"image": {"bytes": b"x", "path": None}}])
def test_image_without_a_picture_or_with_bytes_does_not_stop_a_run(empty):
    assert check_rows(compose_config(), Dataset.from_list([GOOD | {"images": [empty]}])) == 1


def test_parts_of_messages_are_checked():
    empty = {"text": None, "image": None, "video": None, "max_pixels": None}
    image, text = {**empty, "type": "image", "image": "a.png"}, {**empty, "type": "text", "text": "<video>?"}
    good = {"prompt": [{"role": "user", "content": [image, text]}], "videos": [], "images": None}
    check_rows(compose_config(), Dataset.from_list([good]))
    for part, sentence in (
        ({**empty, "type": "video", "video": "a.mp4"}, "it holds video"),
        ({**image, "image": "s3://bucket/a.png"}, "is on a server"),
        ({**image, "max_pixels": 0}, "its max_pixels is 0"),
    ):
        bad = {**good, "prompt": [{"role": "user", "content": [image, part]}]}
        with pytest.raises(ConfigError, match="row 1 .*" + sentence):
            check_rows(compose_config(), Dataset.from_list([good, bad]))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"prompt": "what?"}, r"its prompt is a text \('what\?'\); it should be a list of messages"),
        ({"prompt": [{"role": "human", "content": "what?"}]}, r"whose role is a text \('human'\)"),
        ({"prompt": [{"content": "what?"}]}, "whose role is nothing"),
        ({"prompt": [{"from": "human", "value": "what?"}]}, "whose role is nothing"),
        ({"prompt": [{"role": "user", "content": None}]}, "a message of role user without content"),
        ({"prompt": [{"role": "user", "content": {"type": "text", "text": "what?"}}]}, "whose content is a dict"),
        ({"prompt": [{"role": "user", "content": b"what?"}]}, "whose content is bytes"),
        ({"prompt": [{"role": "user", "content": 7}]}, r"whose content is a number \(7\)"),
        ({"prompt": [{"role": "user", "content": [["what?"]]}]}, "it holds a list"),
        ({"prompt": [{"role": "user", "content": [{"text": "what?", "image": "a.png"}]}]}, "both a text and an image"),
        ({"prompt": [{"role": "user", "content": [{"text": "what?", "bytes": b"x"}]}]}, "both a text and an image"),
        ({"prompt": [{"role": "system", "content": [{"image": "a.png"}]}]}, "an image in its system message"),
        ({"prompt": said("<image>what?"), "images": "a.png"}, r"its column images \(data.image_key\) holds a text"),
        ({"prompt": said("<image>what?"), "images": b"x"}, "its column images .* holds bytes"),
        ({"prompt": said("<image>what?"), "images": {"path": "a.png"}}, "its column images .* holds a dict"),
        ({"prompt": said("<image>what?"), "images": 7}, "holds a number .*; it should be a list, with one entry for"),
        ({"prompt": said("<image>what?"), "images": [["a.png"]]}, "an image of the row is given as list"),
        ({"prompt": said("<image>what?"), "images": [7]}, "an image of the row is given as int"),
    ],
)
def test_row_in_another_form_is_refused_by_its_number_and_value(change, sentence):
    with pytest.raises(ConfigError, match="In the data, row 0 cannot be shown to the model: .*" + sentence):
        check_rows(compose_config(), Dataset.from_list([change]))


def test_parts_without_a_type_and_plain_strings_pass():
    for content, images in (
        ([{"image": "a.png", "text": ""}, {"image": "", "text": "what?"}], 1),
        (["what?", "why?"], 0),
    ):
        rows_of_parts = Dataset.from_list([{"prompt": [{"role": "user", "content": content}]}])
        assert check_rows(compose_config(), rows_of_parts) == images


def test_struct_that_arrow_fills_with_empty_keys_is_no_picture_and_no_video():
    """Rows with another part, or another entry, make Arrow add the keys of its struct to every row."""
    full = {"type": "image_url", "image_url": {"url": "a.png", "detail": "low"}, "text": None, "video_url": None}
    empty = {"image_url": {"url": None, "detail": None}, "video_url": {"url": None}}
    content = [full, {"type": "text", "text": "what?", **empty}, {"type": "text", "text": None, **empty}]
    data = [{"prompt": [{"role": "user", "content": content}]}]
    assert check_rows(compose_config(), Dataset.from_list(data)) == 1
    entry = {"image": None, "source": {"data": None, "meta": {"id": None}}}
    assert check_rows(compose_config(), Dataset.from_list([GOOD | {"images": [entry]}])) == 1


def test_good_rows_of_every_form_pass():
    assert check_rows(compose_config(), rows()) == 1
    for entry in ({"bytes": b"x" * 1000, "path": None}, {"image": {"bytes": b"x", "path": None}}, "a.png", b"x"):
        data = [{**GOOD, "images": [entry]}, {"prompt": said("text only"), "images": []}]
        assert check_rows(compose_config(), Dataset.from_list(data)) == 1
    assert check_rows(compose_config(), Dataset.from_list([{"prompt": said("text only")}])) == 0
    renamed = Dataset.from_list([{**GOOD, "pictures": ["a.png"]}])
    assert check_rows(compose_config("data.image_key=pictures"), renamed) == 1


def test_rows_of_other_agent_loops_may_hold_videos():
    video = {"prompt": said("<video>what?"), "images": [], "videos": ["a.mp4"], "agent_name": "single_turn_agent"}
    shown = {"prompt": said("<image>what?"), "images": ["a.png"], "videos": [], "agent_name": "visual_tool_agent"}
    check_rows(compose_config(), Dataset.from_list([video, shown]))
    with pytest.raises(ConfigError, match="row 1 .* holds video"):
        check_rows(compose_config(), Dataset.from_list([video, {**video, "agent_name": "visual_tool_agent"}]))


@pytest.mark.parametrize(("medium", "listed"), [("image", []), ("image", 2 * GOOD["images"]), ("video", [])])
def test_rows_of_other_agent_loops_need_a_mark_for_each_entry(medium, listed):
    media = {"images": [], "videos": [], f"{medium}s": listed}
    row = {"prompt": said(f"<{medium}>what?"), "agent_name": "single_turn_agent", **media}
    data = Dataset.from_list([GOOD | {"agent_name": "visual_tool_agent"}, GOOD | row])
    with pytest.raises(ConfigError, match=f"row 1 .*its prompt has 1 x <{medium}>, and .* has {len(listed)}"):
        check_rows(compose_config(), data)


def test_rows_are_numbered_as_they_are_used_after_a_filter():
    dataset = rows({"images": [{"image": "https://example.org/a.png"}]}, {"images": [{"image": "b.png"}]})
    check_rows(compose_config(), dataset.select([0, 2]))
    with pytest.raises(ConfigError, match="row 0 "):
        check_rows(compose_config(), dataset.select([1, 2]))


LIMIT = "+actor_rollout_ref.rollout.engine_kwargs.vllm.limit_mm_per_prompt.image"


@pytest.mark.parametrize("in_messages", [False, True])
def test_row_with_more_images_than_the_engine_takes_is_refused_before_it_is_rolled_out(in_messages):
    change = {"prompt": said("<image>" * 6), "images": [{"image": "a.png"}] * 6}
    if in_messages:
        parts = [{"type": "image", "image": "a.png"}] * 6
        change = {"prompt": [{"role": "user", "content": parts}], "images": []}
    data = Dataset.from_list([GOOD | change])
    check_rows(compose_config(f"{LIMIT}=9"), data)
    for datasets in ([data], [rows(), data]):
        with pytest.raises(ConfigError, match=r"row 0 has 6 images, .*6 \+ 3 observations = 9, but .*=8: set it to 9"):
            check_rows(compose_config(f"{LIMIT}=8"), *datasets)


def test_images_of_rows_of_other_agent_loops_are_counted_without_tools():
    six = {"prompt": said("<image>" * 6), "images": [{"image": "a.png"}] * 6}
    other = GOOD | six | {"agent_name": "single_turn_agent"}
    data = Dataset.from_list([other, GOOD | {"agent_name": "visual_tool_agent"}])
    check_rows(compose_config(f"{LIMIT}=6"), data)
    with pytest.raises(ConfigError, match="row 0 has 6 images, but .*image=5: set it to 6"):
        check_rows(compose_config(f"{LIMIT}=5"), data)
