# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The record of a rollout: its columns, and the way to JSON and back."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from verl_mapo.columns import ABSENT, SCORED, UNSCORED
from verl_mapo.rollout.statuses import EndReason, LabelFault, TurnStatus
from verl_mapo.rollout.trajectory import Trajectory, Turn
from verl_mapo.tools.coordinates import View

numbers = st.floats(allow_nan=False, allow_infinity=False)
counts = st.integers(0, 10_000)
boxes = st.none() | st.tuples(numbers, numbers, numbers, numbers)
sizes = st.tuples(st.integers(1, 5000), st.integers(1, 5000))
views = st.builds(View, counts, st.tuples(counts, counts, counts, counts), st.integers(0, 3), sizes)
turns = st.builds(
    Turn,
    span=st.tuples(counts, counts),
    text=st.text(max_size=8),
    status=st.sampled_from(TurnStatus),
    tool=st.none() | st.text(max_size=8),
    label=st.none() | st.text(max_size=8),
    description=st.none() | st.text(max_size=8),
    label_tokens=counts,
    img_idx=st.none() | st.integers(),
    view=st.none() | views,
    box_said=boxes,
    box_asked=boxes,
    described=st.booleans(),
    faults=st.lists(st.sampled_from(LabelFault), max_size=3),
    pixels=st.none() | st.binary(min_size=1, max_size=8),
    computed=st.booleans(),
    score=st.none() | numbers,
    observation=st.text(max_size=8),
)
trajectories = st.builds(
    Trajectory,
    images=st.lists(st.text(max_size=8), max_size=3),
    image_sizes=st.lists(sizes, max_size=3),
    turns=st.lists(turns, max_size=4),
    end_reason=st.none() | st.sampled_from(EndReason),
    prefix_length=counts,
    error=st.text(max_size=8),
    node=st.text(max_size=8),
    unreadable=st.text(max_size=8),
)


@given(trajectories)
def test_record_is_read_back_as_the_trajectory_without_the_pixels_of_plain_images(trajectory):
    read = Trajectory.from_record(json.loads(json.dumps(trajectory.to_record())))
    kept = [turn if turn.computed else replace(turn, pixels=None) for turn in trajectory.turns]
    assert read == replace(trajectory, turns=kept)


def test_record_has_these_keys():
    record = Trajectory(["a.png"], [(8, 6)], [Turn((0, 3), "x")], EndReason.ANSWER).to_record()
    keys = ["images", "image_sizes", "turns", "end_reason", "prefix_length", "error", "node", "unreadable", "audit"]
    assert list(record) == keys
    assert set(record["turns"][0]) == {
        *("span", "text", "status", "tool", "label", "description", "label_tokens", "img_idx", "image"),
        *("quarter_turns", "box_said", "box_asked", "box_executed", "view_size", "described", "faults", "pixels"),
        *("computed", "score", "observation", "continues", "call_start", "after_call", "lenient"),
        "other_units",
    }
    assert Trajectory(["a.png"]).to_record()["end_reason"] == ""
    earlier = {name: value for name, value in record.items() if name not in ("error", "node", "unreadable", "audit")}
    assert Trajectory.from_record(earlier) == Trajectory.from_record(record)


def crop(region: tuple[int, int, int, int], image: int = 0, **fields) -> Turn:
    return Turn((0, 1), "", TurnStatus.OK, view=View(image, region, 0, (28, 28)), described=True, **fields)


def test_areas_and_overlaps_are_those_of_visual_turns_with_an_image():
    refused = Turn((0, 1), "", TurnStatus.BAD_BOX, described=True)
    marked = replace(crop((0, 0, 100, 50)), described=False)
    turns = [crop((0, 0, 50, 50)), refused, marked, crop((25, 0, 75, 50)), crop((0, 0, 50, 50), image=1)]
    trajectory = Trajectory(["a", "b"], [(100, 50), (50, 100)], turns)
    assert trajectory.crop_areas == [0.5, 0.5, 0.5] and trajectory.crop_area(refused) is None
    assert trajectory.repeat_ious == [pytest.approx(1 / 3)]
    assert trajectory.called and not Trajectory([], turns=[Turn((0, 1), "")]).called


def test_columns_hold_visual_turns_from_the_left():
    turns = [Turn((0, 3), ""), replace(crop((0, 0, 1, 1), score=0.25), span=(5, 8)), crop((0, 0, 1, 1))]
    columns = Trajectory(["a"], [(9, 9)], turns).columns(3)
    assert columns["turn_status"].tolist() == [SCORED, UNSCORED, ABSENT]
    assert columns["turn_scores"][0] == 0.25 and columns["turn_scores"][1:].isnan().all()
    assert columns["turn_spans"].tolist() == [[5, 8], [0, 1], [-1, -1]]
    assert columns["turn_spans"].dtype == torch.int64 and columns["turn_status"].dtype == torch.int8


@pytest.mark.parametrize(
    ("status", "observation", "corrected"),
    [(TurnStatus.BAD_BOX, "why", True), (TurnStatus.BAD_BOX, "", False), (TurnStatus.OK, "Image 1", False)]
    + [(TurnStatus.ANSWER, "", False)],
)
def test_turn_is_corrected_when_a_failed_call_was_answered(status, observation, corrected):
    assert Turn((0, 1), "", status, observation=observation).corrected is corrected
