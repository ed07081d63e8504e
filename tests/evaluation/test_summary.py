# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The tables and the JSON file of passes, with the judge of the answers."""

from __future__ import annotations

import json
from dataclasses import replace

import pandas as pd
import pytest

from verl_mapo.benchmarks.answers import Result
from verl_mapo.benchmarks.statistics import Estimate
from verl_mapo.evaluation.summary import Line, details, document, overview, write_summary
from verl_mapo.rewards.judge import PROMPT
from verl_mapo.run_folder import RunFolder

RESULT = Result(
    ours=Estimate(0.5, 0.25, 0.75, 4),
    official=Estimate(0.25, 0.0, 0.5, 4),
    unjudged=(3, 2),
    failed={"no reply within 3 s": 2},
    differ=1,
    samples=2,
    pass_at_k={1: 0.5, 2: 0.75},
    majority=0.625,
    tool_rate=1.0,
    tokens=41.6,
    turns=2.0,
    seconds=None,
    iou=0.1234,
    reported={"accuracy": 0.5, "category/left": 1.0, "problems_left_out": 3},
)
GREEDY = replace(RESULT, samples=1, pass_at_k={1: 0.5}, failed={}, unjudged=(0, 0), iou=None, tokens=None)
LINES = [Line("vstar", "tools", 4, False, RESULT), Line("vstar", "tools_greedy", 4, True, GREEDY)]


def test_the_overview_has_a_row_for_each_pass_and_counts_what_has_no_answer_apart():
    drawn, greedy = overview(LINES).to_dict("records")
    assert drawn["ours, Avg@k"] == "50.0 (25.0 to 75.0)" and drawn["official, Avg@k"] == "25.0 (0.0 to 50.0)"
    assert (drawn["Pass@k"], drawn["majority"], drawn["samples"]) == ("75.0", "62.5", "2")
    assert (drawn["no answer"], drawn["unjudged, ours / official"]) == ("2", "1 / 0")
    assert (drawn["turns"], drawn["tokens"], drawn["seconds"]) == ("2.0", "42", "")
    assert (greedy["samples"], greedy["Pass@k"], greedy["tokens"]) == ("1, greedy", "", "")


def test_the_details_have_every_number_of_a_benchmark():
    found = details(LINES).set_index("")
    assert found.loc["no answer: no reply within 3 s"].tolist() == ["2", ""]
    assert found.loc["Pass@2"].tolist() == ["75.0", ""] and found.loc["box IoU", "tools"] == "0.123"
    assert found.loc["category/left"].tolist() == ["100.0", "100.0"]
    assert found.loc["problems_left_out"].tolist() == ["3", "3"]


@pytest.mark.parametrize("judged", [False, True])
def test_the_summary_tells_how_the_answers_were_made_and_judged(tmp_path, judged):
    folder = RunFolder(tmp_path / "tools")
    folder.config.parent.mkdir(parents=True)
    judge = {"url": "http://h/v1", "model": "m"} if judged else None
    folder.config.write_text(json.dumps({"reward": {"description_alignment": {"judge": judge}}}))
    folder.identity.write_text(json.dumps({"protocol": "tools"}))
    reference = [("Published", pd.DataFrame([{"published": "A", "vstar": "75.3"}]))]
    write_summary(tmp_path, LINES, {"tools": folder.path}, document(LINES, ["A note."], reference))
    written = json.loads((tmp_path / "summary.json").read_text())
    found = written["passes"]["tools"]
    assert found["settings"] == {"protocol": "tools"} and written["results"][0]["ours"]["value"] == 0.5
    if judged:
        assert found["judge"]["prompt"] == PROMPT and found["judge"]["model"] == "m"
        assert found["judge"]["temperature"] == 0 and found["judge"]["version"].startswith("verl-mapo ")
    else:
        assert found["judge"] is None
    text = (tmp_path / "summary.md").read_text()
    assert "A note." in text and "| A | 75.3 |" in text and text.count("| vstar | tools") == 2
