# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""A step's batch: what is fetched, what is derived from it, and what is written back."""

from __future__ import annotations

import torch
from support.fake_queue import jagged, scored_rows

from verl_mapo.columns import PREFIX_LENGTH, ROLE, VISUAL_FOCUS
from verl_mapo.rollout.trajectory import Trajectory
from verl_mapo.training.step_batch import StepBatch

MASKS = [torch.tensor([1.0, 1.0, 0.0]), torch.tensor([1.0])]


def fetch(queue, *columns) -> StepBatch:
    queue.fields.update(scored_rows(MASKS, [1.0, 0.5], [Trajectory(["p.png"]), None]))
    return StepBatch.fetch(queue.batch(["a_b_0_0", "a_b_1_0"], is_padding=[False, True]), 3, columns)


def test_rows_are_described_by_keys_tags_and_rewards(queue):
    step = fetch(queue)
    assert step.uids == ["a_b", "a_b"] and step.group.tolist() == [0, 0]
    assert step.outcome.tolist() == [1.0, 0.5] and step.not_padding.tolist() == [True, False]
    assert step.original.tolist() == [True, False] and len(step) == 2
    assert [trajectory and trajectory.images for trajectory in step.trajectories] == [["p.png"], None]


def test_columns_of_one_shape_are_dense_and_missing_columns_are_left_out(queue):
    queue.fields[ROLE.name] = torch.tensor([0, 1], dtype=ROLE.dtype)
    queue.fields[VISUAL_FOCUS.name] = jagged([torch.rand(5), torch.rand(2)])
    step = fetch(queue, ROLE, PREFIX_LENGTH, VISUAL_FOCUS)
    assert list(step.columns) == [ROLE.name] and step.columns[ROLE.name].dtype == ROLE.dtype


def test_values_of_whole_rows_are_cut_to_the_response_and_shifted_by_one(queue):
    queue.fields[VISUAL_FOCUS.name] = jagged([torch.tensor([0.0, 0.1, 0.2, 0.3, 0.4]), torch.tensor([0.5, 0.6])])
    values = fetch(queue, VISUAL_FOCUS).response_values(VISUAL_FOCUS)
    assert torch.allclose(values[0], torch.tensor([0.1, 0.2, 0.3])) and torch.allclose(values[1, 0], torch.tensor(0.5))
    assert values[1, 1:].isnan().all()
    queue.fields.pop(VISUAL_FOCUS.name)
    assert fetch(queue, VISUAL_FOCUS).response_values(VISUAL_FOCUS) is None


def test_written_field_is_cut_to_each_response_and_replaces_the_fetched_one(queue):
    step = fetch(queue)
    step.write(response_mask=torch.tensor([[1, 0, 0], [1, 1, 1]]))
    assert [row.tolist() for row in queue.fields["response_mask"].unbind()] == [[1, 0, 0], [1]]
    assert step.padded("response_mask").tolist() == [[1, 0, 0], [1, 0, 0]]


def test_estimate_is_read_when_first_asked_for_and_once(queue):
    step = fetch(queue)
    queue.fields["advantages"] = jagged([torch.tensor([2.0, 2.0, 0.0]), torch.tensor([3.0])])
    step.expect_estimate(step.batch)
    reads = len(queue.reads)
    assert [row.tolist() for row in step.rows("advantages")] == [[2.0, 2.0, 0.0], [3.0]]
    assert step.padded("response_mask").tolist() == [[1, 1, 0], [1, 0, 0]]
    assert queue.reads[reads:] == [["advantages", "response_mask"]]
