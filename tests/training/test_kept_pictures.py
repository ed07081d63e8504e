# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures that are no files, from the rollout to the report."""

from __future__ import annotations

import json
import pickle
from io import BytesIO

import pytest
import torch
from PIL import Image, ImageDraw
from support.fake_queue import scored_rows
from support.pictures import data_uri, encoded
from support.scripted import call, compose_config, play

from verl_mapo.names import TRAJECTORY
from verl_mapo.report.cards import card
from verl_mapo.report.load import RunData
from verl_mapo.rollout.row_dataset import plain_part
from verl_mapo.run_folder import RunFolder, rollouts_file
from verl_mapo.training.kept_pictures import keep_pictures
from verl_mapo.training.records import RECORD_FIELDS, describe_rows
from verl_mapo.training.step_batch import StepBatch


def content_of(colour: str, side: int = 700) -> bytes:
    image = Image.new("RGB", (side, side // 2), "white")
    ImageDraw.Draw(image).rectangle((0, 0, side // 2, side), fill=colour)
    return encoded(image)


def parts_of(content: bytes) -> list[dict]:
    """One picture without a file in the forms of public data sets; the first as verl's own data set makes it."""
    return [
        {"type": "image", "bytes": content, "image": Image.open(BytesIO(content)), "path": None},
        plain_part({"type": "image", "bytes": content}),
        {"type": "image_url", "image_url": {"url": data_uri(content)}},
        {"type": "image", "image": Image.open(BytesIO(content))},
    ]


def prompt_of(*parts: dict) -> list[dict]:
    return [{"role": "user", "content": [*parts, {"type": "text", "text": "What?"}]}]


@pytest.fixture
def step_of(queue, tiny_models):
    """Makes a validation in which every prompt was rolled out with one zoom and an answer."""

    def make(*prompts: list[dict]) -> StepBatch:
        turns, number = [call((0, 0, 50, 50)), "<answer>x</answer>"], len(prompts)
        outputs = [play(tiny_models["qwen2_5_vl"], compose_config(), prompt, turns) for prompt in prompts]
        queue.fields = scored_rows([torch.ones(2)] * number, [1.0] * number, [None] * number)
        queue.fields |= {
            "data_source": ["toy"] * number,
            "index": [*range(number)],
            "reward_model": [{"ground_truth": "x"}] * number,
            "raw_prompt": list(prompts),
            "extra_fields": [{TRAJECTORY: output.extra_fields[TRAJECTORY].to_record()} for output in outputs],
        }
        return StepBatch.fetch(queue.batch([f"{i}_0_0" for i in range(number)]), 1, fields=RECORD_FIELDS)

    return make


def test_report_shows_the_pictures_and_crops_of_bytes_and_data_uris(step_of, tmp_path):
    step = step_of(*(pickle.loads(pickle.dumps(prompt_of(part))) for part in parts_of(content_of("red"))))
    run = RunFolder(tmp_path)
    keep_pictures(step, run.trajectories)
    file = rollouts_file(run.trajectories, "val", 1)
    file.parent.mkdir()
    lines = [json.dumps(record) + "\n" for record in describe_rows(step, "val")]
    assert all(len(line) < 4000 for line in lines), "a record stays short"
    file.write_text("".join(lines))
    for rollout in RunData.open(run.path).rollouts(1, "val"):
        shown = card("title", rollout, run.path)
        assert shown.originals[0].url.startswith("data:image/jpeg") and shown.turns[0].image.startswith("data:image")
        assert (shown.originals[0].width, shown.originals[0].height) == (700, 350)


def test_copies_are_small_and_written_once_for_each_content(step_of, tmp_path):
    contents = [content_of("red"), content_of("blue"), content_of("red", 90)]
    step = step_of(*(prompt_of(*parts_of(content)[1:3]) for content in (*contents, contents[0])))
    keep_pictures(step, tmp_path)
    files = sorted((tmp_path / "pictures").iterdir())
    sizes = sorted(Image.open(file).size for file in files)
    assert sizes == [(90, 45), (384, 192), (384, 192)] and all(file.suffix == ".jpg" for file in files)
    times = [file.stat().st_mtime_ns for file in files]
    keep_pictures(step, tmp_path)
    assert [file.stat().st_mtime_ns for file in sorted((tmp_path / "pictures").iterdir())] == times


def test_files_broken_pictures_and_rows_of_other_loops_have_no_copies(step_of, tmp_path, picture):
    broken = {"type": "image", "image": data_uri(b"no image")}
    step = step_of(*map(prompt_of, ({"type": "image", "image": picture}, broken, {"type": "video", "video": "a.mp4"})))
    keep_pictures(step, tmp_path)
    step.extra_fields[0] = {}
    keep_pictures(step, tmp_path)
    assert not (tmp_path / "pictures").exists()
