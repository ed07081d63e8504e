# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""scripts/dials.py on a policy whose gradients are known, with records that were made for it."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.policies import coin
from support.script_modules import script_module

from verl_mapo.lens.collection import Collection
from verl_mapo.lens.comparison import Plan
from verl_mapo.rollout.statuses import EndReason, LabelFault, TurnStatus
from verl_mapo.rollout.trajectory import Trajectory, Turn
from verl_mapo.settings import ConfigError
from verl_mapo.tools.coordinates import View
from verl_mapo.toy.dataset import write_split
from verl_mapo.toy.visual_search import VisualSearch
from verl_mapo.training.records import rollout_record

dials = script_module("dials")
toy_facts = script_module("toy_facts")

PLAN = Plan(questions=2, rollouts=4, passes=4, draws=3)
QUESTIONS, N = 8, 4


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    return write_split(VisualSearch(), 0, "test", QUESTIONS, folder, folder, workers=1)


def crop(region: tuple[int, int, int, int], score: float | None, **more) -> Turn:
    view = View(0, region, 0, (84, 84))
    return Turn((0, 1), "x", TurnStatus.OK, tool="zoom", view=view, described=True, score=score, **more)


def write_run(folder: Path, collection: Collection, scenes: Path) -> None:
    """A collection with its records: a rollout whose first parameter pulls shows the target, the others miss it."""
    rows = pq.read_table(scenes).to_pylist()
    lines = []
    for number in range(len(collection.outcome)):
        row = rows[int(collection.question[number])]
        x1, y1, x2, y2 = row["extra_info"]["target_box"]
        region = (x1 - 8, y1 - 8, x2 + 8, y2 + 8) if collection.sketches[number, 0] > 0 else (x2, y2, x2 + 40, y2 + 20)
        turn = crop(region, float(collection.turn_scores[number, 0]))
        lines.append(
            rollout_record(
                "train",
                1,
                question_id=f"q{collection.question[number]}",
                uid=f"u{collection.question[number]}",
                session=number,
                row={"data_source": "s", "index": 0, "raw_prompt": row["prompt"], "reward_model": row["reward_model"]},
                outcome=float(collection.outcome[number]),
                alignment=None,
                trajectory=Trajectory(row["images"], [(448, 448)], [turn], EndReason.ANSWER).to_record(),
            )
        )
    records = folder / "trajectories" / "train" / "1.jsonl"
    records.parent.mkdir(parents=True)
    records.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "lens").mkdir()
    collection.save(folder / "lens")


@pytest.fixture(scope="module")
def run(tmp_path_factory, scenes) -> Path:
    folder = tmp_path_factory.mktemp("run")
    write_run(folder, coin(QUESTIONS, N), scenes)
    return folder


@pytest.fixture(scope="module")
def point(run, scenes):
    return {"letters": 2, "start": 0} | dials.measured(run, scenes, PLAN)


def test_a_point_holds_every_scorer_and_estimator_and_the_guess_rate(point):
    assert list(point["scorers"]) == list(dials.SCORERS)
    assert all(list(found["rows"]) == list(dials.ROWS) for found in point["scorers"].values())
    assert point["scorers"]["constant"]["score ~ outcome"] is None
    assert point["scorers"]["constant"]["rows"][dials.MAIN]["worth"] == [1, 1, 1], "without a spread there is only GRPO"
    assert point["facts"]["right with the target"] == 1 and point["facts"]["right without the target"] == 0


@pytest.mark.parametrize("snr", [[1.5, 0.2, 2.0], [0.1, -0.8, 0.9]], ids=["signal", "no signal"])
def test_the_table_and_the_figure_show_all_points(point, snr, tmp_path):
    point = deepcopy(point)
    point["scorers"]["clean"]["rows"]["grpo"]["snr"] = snr
    for start in (0, 15):
        (tmp_path / f"{start}.json").write_text(json.dumps(point | {"start": start}))
    points = dials.read_points(tmp_path)
    assert [each["start"] for each in points] == [0, 15]
    table = dials.as_table(points).splitlines()
    assert len(table) == 2 + 2 * len(dials.SCORERS) and "| 50% | step 0 |" in table[2]
    dials.draw(points, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    "kind, shown, missed", [("oracle", 1, 0), ("constant", 0.5, 0.5), ("adversarial", None, 800 / 448**2)]
)
def test_scores_of_the_other_scorers_are_those_computed_by_hand(run, scenes, kind, shown, missed):
    collection = Collection.load(run / "lens")
    records, targets = dials.records_of(run, collection), toy_facts.target_boxes(scenes)
    changed = dials.rescored(collection, records, dials.scorer(kind, collection, targets)).turn_scores[:, 0]
    hits = collection.sketches[:, 0] > 0
    assert changed[~hits].tolist() == pytest.approx([missed] * int((~hits).sum()))
    assert shown is None or set(changed[hits].tolist()) == {shown}


def test_noise_has_the_spread_of_the_scores_and_a_refused_call_keeps_its_score(run, scenes):
    collection = Collection.load(run / "lens")
    records, targets = dials.records_of(run, collection), toy_facts.target_boxes(scenes)
    records[0].trajectory.turns[0].faults.append(LabelFault.REFUSED)
    many = replace(collection, turn_scores=collection.turn_scores * 100)
    noisy = dials.rescored(many, records, dials.scorer("noisy", many, targets)).turn_scores[:, 0]
    added = noisy - torch.tensor([record.trajectory.turns[0].score for record in records])
    assert added[1:].std() == pytest.approx(float(many.turn_scores.std()), rel=0.4)
    assert noisy[0] == many.turn_scores[0, 0]


def test_records_of_other_rollouts_are_refused(run):
    collection = Collection.load(run / "lens")
    with pytest.raises(ConfigError, match="are not those of the 32 collected rollouts"):
        dials.records_of(run, replace(collection, outcome=1 - collection.outcome))


@given(st.tuples(*[st.integers(0, 400)] * 4), st.integers(0, 400), st.integers(0, 400))
def test_a_crop_shows_the_target_if_it_holds_its_centre(corner, x, y):
    left, top, width, height = corner
    turn = crop((left, top, left + width + 1, top + height + 1), 0.0)
    inside = left <= x <= left + width and top <= y <= top + height
    assert toy_facts.shows(turn, (x - 5, y - 3, x + 5, y + 3)) == inside


@pytest.mark.parametrize(
    "worth, said", [([1.3, 1.1, 1.5], "helps"), ([0.8, 0.7, 0.9], "hurts"), ([1, 0.9, 1.2], "open")]
)
def test_the_verdict_is_that_of_the_interval(worth, said):
    assert dials.verdict(worth) == said


def test_the_cases_that_hurt_are_named_without_the_placebos(point):
    worths = {name: {"worth": [0.8, 0.7, 0.9]} for name in dials.ROWS}
    sentences = dials.hurting([point | {"scorers": {"noisy": {"rows": worths}}}])
    assert len(sentences) == 3
    assert sentences[0].startswith("mapo beta=0.4 hurts with 2 letters after 0 steps under the scorer noisy: 0.80 (")
