# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The commands stats, view and overlap write their files, and name what is wrong with their arguments."""

from __future__ import annotations

import json

import pytest
from support.converted import photograph, row, write_rows
from typer.testing import CliRunner

from verl_mapo.cli import app


def run(*arguments):
    return CliRunner().invoke(app, ["data", *map(str, arguments)])


@pytest.fixture
def place(tmp_path):
    photograph().save(tmp_path / "a.jpg")
    return write_rows(tmp_path / "set", [row(0, tmp_path / "a.jpg")])


def test_stats_writes_figures_and_picture(place, tmp_path):
    done = run("stats", place, "--out", tmp_path / "out", "--json", "visual_tool.max_image_pixels=100352")
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "out" / "stats.json").read_text())["rows"] == 1
    assert '"rows": 1' in done.output and (tmp_path / "out" / "stats.png").is_file()
    assert run("stats", place).exit_code == 0 and (place / "stats.json").is_file()


def test_view_and_overlap_write_their_pages(place, tmp_path, tiny_models):
    done = run("view", place, "--model", tiny_models["qwen3_vl"].folder)
    assert done.exit_code == 0 and (place / "view.html").is_file(), done.output
    done = run("overlap", place, "--with", tmp_path, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "out" / "overlap.json").read_text())["pairs"][0]["exact"]
    assert (tmp_path / "out" / "overlap.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("stats", "{empty}"), "holds no"),
        (("stats", "{empty}/absent"), "does not exist"),
        (("stats", "{place}", "--modle", "x"), "--modle is no option of this command"),
        (("stats", "{place}", "--out", "{place}/train.parquet"), "is a file: give a folder"),
        (("stats", "{place}", "data.max_prompt_length=null"), "data.max_prompt_length=None is refused: use an integer"),
        (("stats", "{place}", "data.train_batch_size=many"), "data.train_batch_size=many is refused: use an integer"),
        (("stats", "{place}", "visual_tool.max_image_pixel=3"), "max_image_pixel"),
        (("stats", "{place}", "visual_tool.tools=[zooom]"), "Invalid value: visual_tool.tools"),
        (("stats", "{place}", "visual_tool.max_image_pixels=100"), "Invalid value: visual_tool.max_image_pixels=100 "),
        (("stats", "{place}", "--model", "{empty}"), "config.json"),
        (("overlap", "{place}", "--with", "{empty}"), "no image"),
    ],
)
def test_wrong_arguments_are_named(place, tmp_path, arguments, words):
    (tmp_path / "empty").mkdir()
    done = run(*(part.format(empty=tmp_path / "empty", place=place) for part in arguments))
    assert done.exit_code == 2 and words in " ".join(done.output.replace("│", " ").split())
