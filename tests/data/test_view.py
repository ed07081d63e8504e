# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The page shows sampled rows as the model will see them."""

from __future__ import annotations

import re

import pytest
from support.converted import photograph, row, write_rows

from verl_mapo.data.view import common_start, pieces, sample_rows, write_view
from verl_mapo.planning.compose import PRIMARY, composed


@pytest.fixture
def place(tmp_path):
    photograph().save(tmp_path / "a.jpg")
    file = tmp_path / "a.jpg"
    options = ["a <b>dog</b>", "a cat"]
    rows = [
        row(0, file, boxes=[[24, 18, 120, 90]], style="multiple_choice", options=options),
        row(1, file, question="<image>Is it <red>?"),
        row(2, tmp_path / "absent.jpg"),
    ]
    return write_rows(tmp_path / "set", rows)


def test_page_has_prompt_image_boxes_and_truth(place, tiny_models, tmp_path):
    folder = tiny_models["qwen2_5_vl"].folder
    page = write_view(place, composed(PRIMARY, []), folder, tmp_path).read_text()
    assert page.count('"name": "zoom"') == page.count("&#34;name&#34;: &#34;zoom&#34;") + 0 or "zoom" in page
    assert page.count("&#34;name&#34;: &#34;zoom&#34;") == 1, "what all prompts begin with is shown once"
    seen = re.search(r'viewBox="0 0 (\d+) (\d+)"', page)
    width, height = int(seen[1]), int(seen[2])
    assert f"seen {width} × {height}, {width * height // 784} tokens" in page
    box = re.search(r'class="returned" x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)"', page)
    expected = 24 * width / 240, 18 * height / 180, 96 * width / 240, 72 * height / 180
    assert [float(side) for side in box.groups()] == pytest.approx(expected)
    assert "Is it &lt;red&gt;?" in page and "A. a &lt;b&gt;dog&lt;/b&gt;" in page and "Truth: <b>red</b>" in page
    assert "missing_image" in page and "absent.jpg" in page


def test_image_that_cannot_be_decoded_is_named(place, tiny_models, tmp_path):
    content = bytearray((tmp_path / "a.jpg").read_bytes())
    content[300:-300] = bytes(len(content) - 600)  # head and end are whole
    (tmp_path / "a.jpg").write_bytes(content)
    page = write_view(place, composed(PRIMARY, []), tiny_models["qwen2_5_vl"].folder, tmp_path).read_text()
    assert "broken_image" in page


def test_sample_has_each_row_once_and_depends_on_the_seed_alone(tmp_path):
    place = write_rows(tmp_path, [row(index, question="?") for index in range(50)])
    chosen = [[each.number for each in sample_rows(place, 8, seed).rows] for seed in (0, 0, 1)]
    assert chosen[0] == chosen[1] != chosen[2] and len(set(chosen[0])) == 8 and chosen[0] == sorted(chosen[0])
    assert len(sample_rows(place, 80, 0).rows) == 50


def test_common_start_ends_with_a_line_before_the_first_image():
    texts = ["one\ntwo\n<|vision_start|><|image_pad|>\nsame", "one\ntwo\n<|vision_start|><|image_pad|>\nother"]
    assert common_start(texts) == "one\ntwo\n" and common_start(texts[:1]) == ""
    assert pieces("a<|image_pad|><|image_pad|>b") == ["a", None, None, "b"]
