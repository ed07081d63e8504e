# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Which rollouts of a file need not be made again."""

from __future__ import annotations

import json

from support.recorded import record

from verl_mapo.made_rollouts import UNREADABLE, UNRECORDED, failure_of, settled
from verl_mapo.rollout.trajectory import EndReason
from verl_mapo.run_folder import append_records


def test_a_file_is_left_with_one_line_for_each_rollout_that_need_not_be_made_again(tmp_path):
    file = tmp_path / "val" / "0.jsonl"
    assert settled(file) == set()
    failed = record("a", 1, error="The tool zoom raised ValueError.")
    append_records(file, [record("a", 0), failed, record("b", 0, end_reason=EndReason.TURN_LIMIT), record("a", 0)])
    with file.open("a") as lines:
        lines.write('{"question_id": "cut by a ki')
    assert settled(file, keep_failed=True) == {("a", 0), ("a", 1), ("b", 0)}
    assert settled(file) == {("a", 0), ("b", 0)}
    lines = file.read_text().splitlines()
    assert [json.loads(line)["question_id"] for line in lines] == ["a", "b"]
    assert settled(file) == {("a", 0), ("b", 0)} and file.read_text().splitlines() == lines


def test_a_rollout_fails_where_the_model_is_not_to_blame():
    assert failure_of({"trajectory": None}) == UNRECORDED
    assert failure_of(record("a", 0, end_reason=EndReason.UNREADABLE_IMAGE)) == UNREADABLE
    assert failure_of(record("a", 0, error="The judge gave no verdict.")) == "The judge gave no verdict."
    assert not failure_of(record("a", 0, end_reason=EndReason.EMPTY))
