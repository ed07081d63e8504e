# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The figures of a converted set are those computed by hand, and what cannot be shown is counted and named."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.converted import blank, row, write_rows

from verl_mapo.data.stats import NAMED, Spread, stats_of
from verl_mapo.data.stats_picture import write_picture
from verl_mapo.data.stats_tables import tables
from verl_mapo.planning.compose import PRIMARY, composed
from verl_mapo.settings import ConfigError

STEP = ["data.train_batch_size=2", "actor_rollout_ref.rollout.n=3", "data.max_prompt_length=1000"]


@pytest.fixture
def place(tmp_path):
    """Two rows with an image of 280 x 140 and of 2800 x 1400 pixels, and one whose image is absent."""
    small, large = blank(tmp_path / "small.png", (280, 140)), blank(tmp_path / "large.png", (2800, 1400))
    rows = [
        row(0, small, data_source="a", boxes=[[0, 0, 9, 9]]),
        row(1, large, data_source="b", style="judge"),
        row(2, tmp_path / "absent.png"),
    ]
    return write_rows(tmp_path / "set", rows)


def test_figures_are_those_computed_by_hand(place):
    found = stats_of(place, composed(PRIMARY, STEP)).as_json()
    assert (found["rows"], found["images"], found["with_boxes"]) == (2, 2, 1)
    assert found["sources"] == {"a": 1, "b": 1} and found["styles"] == {"exact": 1, "judge": 1}
    assert found["pixels"] == {"p50": 39200, "p99": 3920000, "most": 3920000, "mean": 1979600.0}
    assert found["share_under_1000_px"] == 0.5
    families = found["families"]
    assert families["Qwen2.5-VL"]["image_tokens"] == {"p50": 50, "p99": 5000, "most": 5000, "mean": 2525.0}
    # 280 x 140 is enlarged to 65,536 pixels: 12 x 6 tokens of 32; 2800 x 1400 becomes 88 x 44
    assert families["Qwen3-VL"]["image_tokens"]["p50"] == 72 and families["Qwen3.5"]["image_tokens"]["most"] == 3872
    assert families["Qwen2.5-VL"]["rows_over_budget"] == 1 and families["Qwen2.5-VL"]["prompt_tokens"] is None
    assert families["Qwen2.5-VL"]["host_bytes_of_a_step"] == {
        "decoded": 4 * 2 * 1979600,
        "requests": 2 * 3 * 2525 * 3 * 28 * 28,
        "features": 2 * 3 * 2525 * 2 * 3 * 28 * 28 * 2,
    }
    assert found["faults"]["missing_image"]["count"] == 1
    assert "row 2" in found["faults"]["missing_image"]["named"][0]


def test_limit_of_the_run_applies_to_every_family_that_can_keep_it(place):
    found = stats_of(place, composed(PRIMARY, ["visual_tool.max_image_pixels=1003520"])).as_json()["families"]
    assert found["Qwen2.5-VL"]["image_tokens"]["most"] == 25 * 50
    found = stats_of(place, composed(PRIMARY, ["visual_tool.max_image_pixels=20000"])).as_json()["families"]
    assert "visual_tool.max_image_pixels=20000" in found["Qwen3-VL"]["refused"]


def test_settings_that_no_family_can_use_are_refused_and_those_that_one_cannot_are_named_once(place):
    limit, model = "visual_tool.max_image_pixels=20000", "actor_rollout_ref.model.path=Qwen/Qwen{}"
    for overrides in ([limit, model.format("3-VL-8B-Instruct")], ["visual_tool.tools=[zooom]"]):
        with pytest.raises(ConfigError, match="visual_tool.(max_image_pixels=20000|tools)"):
            stats_of(place, composed(PRIMARY, overrides))
    found = stats_of(place, composed(PRIMARY, [limit, model.format("2.5-VL-7B-Instruct")]))
    assert [family.name for family in found.families] == ["Qwen2.5-VL"]
    *_, shown, _ = tables(stats_of(place, composed(PRIMARY, [limit])))
    assert shown.caption.startswith("Qwen3-VL, Qwen3.5: ") and shown.caption.count(limit) == 1


def test_prompts_are_counted_with_a_model(place, tiny_models):
    model = tiny_models["qwen2_5_vl"]
    found = stats_of(place, composed(PRIMARY, ["data.max_prompt_length=200"]), model.folder).as_json()["families"]
    (figures,) = found.values()
    assert figures["prompt_tokens"]["p50"] > figures["image_tokens"]["p50"] + 200
    assert figures["rows_over_budget"] == 2


def test_files_that_are_broken_and_many_faults_are_counted_and_the_first_are_named(tmp_path):
    place = write_rows(tmp_path, [row(index, tmp_path / "absent.png") for index in range(NAMED + 5)])
    (place / "b.parquet").write_bytes(b"PAR1")
    found = stats_of(place, composed(PRIMARY, [])).as_json()
    assert found["rows"] == 0 and found["faults"]["missing_image"]["count"] == NAMED + 5
    assert len(found["faults"]["missing_image"]["named"]) == NAMED and found["faults"]["broken_file"]["count"] == 1
    json.dumps(found)


def test_set_without_rows_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="holds no row"):
        stats_of(write_rows(tmp_path, []), composed(PRIMARY, []))


@given(st.lists(st.integers(0, 10**7), min_size=1))
def test_spread_has_values_that_occur(values):
    spread = Spread.of(values)
    assert {spread.p50, spread.p99, spread.most} <= set(values) and spread.most == max(values)
    assert sum(value <= spread.p50 for value in values) >= len(values) / 2 > sum(v < spread.p50 for v in values) - 1
    assert np.isclose(spread.mean, np.mean(values))


def test_picture_and_tables_of_any_set_can_be_drawn(place, tmp_path, tiny_models):
    model = tiny_models["qwen3_vl"].folder
    nothing = write_rows(tmp_path / "nothing", [row(0, tmp_path / "absent.png")])
    texts = write_rows(tmp_path / "texts", [row(0, question="?", data_source="[/odd] $x^")])
    for number, (folder, with_model) in enumerate([(place, None), (nothing, None), (texts, model)]):
        stats = stats_of(folder, composed(PRIMARY, []), with_model)
        write_picture(stats, tmp_path / f"{number}.png")
        assert Image.open(tmp_path / f"{number}.png").width == 1620
        titles = [table.title for table in tables(stats)]
        assert any("cannot be shown" in title for title in titles) == (folder in (place, nothing))


def test_no_framework_is_loaded():
    """They would take most of the gigabyte that the command may use."""
    code = "import sys, verl_mapo.data.stats_picture, verl_mapo.data.stats_tables, verl_mapo.planning.compose as made\n"
    code += "made.composed(made.PRIMARY, [])\nprint([n for n in ('torch', 'verl', 'vllm', 'ray') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
