# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Records: every key in every run, plain JSON, padding left out, and a trajectory that is read back as itself."""

from __future__ import annotations

import json

import pytest
import torch
from support.fake_queue import jagged, scored_rows

from verl_mapo.rollout.statuses import EndReason
from verl_mapo.rollout.trajectory import Trajectory, Turn
from verl_mapo.training.method import Method
from verl_mapo.training.records import RECORD_FIELDS, RecordSettings, describe_rows
from verl_mapo.training.step_batch import StepBatch

TRAJECTORY = Trajectory(["p.png"], [(10, 10)], [Turn((0, 2), "x")], EndReason.ANSWER)
KEYS = {
    *(
        "step",
        "split",
        "data_source",
        "uid",
        "session",
        "question_id",
        "index",
        "question",
        "ground_truth",
        "outcome",
        "advantage",
    ),
    *("trajectory", "alignment", "seconds", "a_out", "a_sem", "axpo", "credit"),
}


class Outside(Method):
    """A method that records the number of each row."""

    name = "outside"
    record_keys = ("number",)

    def __init__(self):
        """Without a configuration."""

    def records(self, step):
        return {0: {"number": 0}}


@pytest.fixture
def step(queue) -> StepBatch:
    masks = [torch.tensor([1.0, 1.0, 0.0]), torch.tensor([0.0]), torch.tensor([1.0])]
    queue.fields.update(scored_rows(masks, [1.0, 0.5, 0.0], [TRAJECTORY, None, None]))
    queue.fields["data_source"] = ["first", "second", "pad"]
    queue.fields["advantages"] = jagged([torch.tensor([2.0, 4.0, 9.0]), torch.tensor([7.0]), torch.tensor([0.0])])
    batch = queue.batch(["a_0_0", "b_1_0", "pad_0_0"], is_padding=[False, False, True])
    step = StepBatch.fetch(batch, 3, fields=RECORD_FIELDS)
    step.expect_estimate(batch)
    return step


def test_record_has_every_key_and_reads_back_its_trajectory(step):
    records = [json.loads(json.dumps(record)) for record in describe_rows(step, "train")]
    assert all(set(record) == KEYS for record in records)
    assert Trajectory.from_record(records[0]["trajectory"]) == TRAJECTORY and records[1]["trajectory"] is None
    assert [(record["uid"], record["session"], record["data_source"]) for record in records] == [
        ("a", 0, "first"),
        ("b", 1, "second"),
    ]


def test_advantage_of_a_record_is_the_mean_over_policy_tokens_and_none_without_any(step):
    assert [record["advantage"] for record in describe_rows(step, "train")] == [3.0, None]
    assert [record["advantage"] for record in describe_rows(step, "val")] == [None, None]


def test_method_adds_its_keys_to_every_record(step):
    assert [record["number"] for record in describe_rows(step, "train", [Outside()])] == [0, None]


def test_share_of_one_records_every_question_and_a_smaller_share_a_part_of_the_same_ones():
    identities = [f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}" for number in range(2000)]
    kept = {share: {each for each in identities if RecordSettings(share).keeps(each)} for share in (0.1, 0.5, 1.0)}
    assert kept[0.1] < kept[0.5] < kept[1.0] == {*identities, "f" * 16} - {"f" * 16}
    assert RecordSettings(1.0).keeps("f" * 16)
    for share, questions in kept.items():
        assert abs(len(questions) / len(identities) - share) < 0.02
