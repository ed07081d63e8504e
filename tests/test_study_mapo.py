# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""scripts/study_mapo.py on the folder of a run that was written by hand, and the placebo of its training."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from support.fake_queue import scored_rows
from support.script_modules import SCRIPTS, script_module
from support.scripted import compose_config

from verl_mapo.columns import SCORED
from verl_mapo.report.load import RunData
from verl_mapo.rollout.statuses import EndReason, TurnStatus
from verl_mapo.rollout.trajectory import Trajectory, Turn
from verl_mapo.settings import ConfigError
from verl_mapo.tools.coordinates import View
from verl_mapo.toy.dataset import write_split
from verl_mapo.toy.visual_search import VisualSearch
from verl_mapo.training.config_checks import check_config
from verl_mapo.training.records import rollout_record

study = script_module("study_mapo")


def write_records(file: Path, split: str, step: int, scenes: Path, rollouts: list[tuple[int, bool, bool, float]]):
    """Records of rollouts, each with the number of its question, whether it is right and hits, and its score."""
    rows = study.target_boxes(scenes)
    images = list(rows)
    lines = []
    for question, right, hits, score in rollouts:
        x1, y1, x2, y2 = rows[images[question]]
        region = (x1, y1, x2, y2) if hits else (x2, y2, x2 + 9, y2 + 9)
        turn = Turn((0, 1), "x", TurnStatus.OK, view=View(0, region, 0, (84, 84)), described=True, score=score)
        lines.append(
            rollout_record(
                split,
                step,
                question_id=f"q{question}",
                uid=f"u{question}",
                session=0,
                row={
                    "data_source": "s",
                    "index": 0,
                    "raw_prompt": [{"role": "user", "content": "?"}],
                    "reward_model": {"ground_truth": "A"},
                },
                outcome=float(right),
                alignment=None,
                trajectory=Trajectory([images[question]], [(448, 448)], [turn], EndReason.ANSWER).to_record(),
            )
        )
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture
def run(tmp_path) -> Path:
    scenes = write_split(VisualSearch(), 0, "test", 2, tmp_path, tmp_path, workers=1)
    folder = tmp_path / "runs" / "mapo-1"
    write_records(folder / "trajectories/train/1.jsonl", "train", 1, scenes, [(0, True, True, 0.8)])
    write_records(folder / "trajectories/train/2.jsonl", "train", 2, scenes, [(1, False, False, 0.2)])
    held = [(0, True, True, 0.9), (0, False, False, 0.1), (1, False, False, 0.1), (1, False, True, 0.5)]
    write_records(folder / "trajectories/val/2.jsonl", "val", 2, scenes, held)
    data = {"train_files": str(scenes), "val_files": str(scenes)}
    (folder / "run.json").write_text(json.dumps({"config": {"data": data, "algorithm": {"adv_estimator": "mapo"}}}))
    rates = {"rollout_visual/tool_rate": 1.0, "actor/entropy": 0.1}
    steps = [
        {"critic/score/mean": 0.4, "rollout_visual/valid_call_rate": 0.9},
        {"critic/score/mean": 0.6, "rollout_visual/valid_call_rate": 0.45},
    ]
    (folder / "metrics").mkdir()
    lines = [json.dumps({"step": number, "data": rates | one}) + "\n" for number, one in enumerate(steps, 1)]
    (folder / "metrics" / "000.jsonl").write_text("".join(lines))
    return folder


def test_figures_of_a_run_are_those_counted_by_hand(run):
    found = study.reduced(RunData.open(run))
    assert found["steps"] == 2 and found["questions"] == {"q0": 0.5, "q1": 0.0}
    figures = {"accuracy": 0.25, "Pass@4": 0.5, "tool rate": 1.0, "area": 0.5, "alignment": 0.4, "crop hit rate": 0.5}
    assert found["figures"] == pytest.approx(figures | {"collapsed": True}), "45 % valid calls at the second step"
    assert found["curves"]["crop hit rate"] == [1.0, 0.0] and found["curves"]["alignment"] == [0.8, 0.2]


def test_an_arm_that_drops_groups_has_no_area(run):
    opened = RunData.open(run)
    opened.config.algorithm.filter_groups = {"enable": True}
    assert study.reduced(opened)["figures"]["area"] is None


def result(accuracy: float, questions: dict[str, float]) -> dict:
    figures = dict.fromkeys(study.COLUMNS, 0.5) | {"accuracy": accuracy, "collapsed": accuracy > 0.55}
    curves = {"accuracy": [0.3, accuracy], "valid calls": [1.0, 0.5]}
    return {"steps": 2, "figures": figures, "curves": curves, "questions": questions}


@pytest.fixture
def results(tmp_path):
    base = [result(0.4, {"a": 0.5, "b": 0.25}), result(0.5, {"a": 0.5, "b": 0.5})]
    arm = [result(0.6, {"a": 1.0, "b": 0.25}), result(0.6, {"a": 0.75, "b": 0.5, "only here": 1.0})]
    for name, runs in {"grpo": base, "mapo": arm}.items():
        for seed, one in enumerate(runs, 1):
            (tmp_path / f"{name}-{seed}.json").write_text(json.dumps(one))
    (tmp_path / "grpo-7.json").write_text(json.dumps(result(0.9, {"a": 1.0})))
    return study.read_results(tmp_path)


def test_differences_are_paired_by_seed_and_question(results):
    assert study.differences(results, "mapo", "grpo", "accuracy") == pytest.approx([0.2, 0.1])
    np.testing.assert_allclose(study.by_question(results["mapo"], results["grpo"]), [[0.5, 0], [0.25, 0]])


def test_questions_that_one_seed_alone_was_asked_count_for_that_seed():
    """Each seed is asked half of the questions, so that no question is shared."""
    right = np.random.default_rng(0).random((2, 200)) < 0.5
    arm, base = {}, {}
    for seed, values in enumerate(right):
        names = [f"{seed} {number}" for number in range(len(values))]
        arm[seed] = result(values.mean(), dict(zip(names, values.astype(float), strict=True)))
        base[seed] = result(0.0, dict.fromkeys(names, 0.0))
    found = study.by_question(arm, base)
    assert found.shape == (2, 400) and np.isnan(found).sum() == 400
    low, high = study.interval_over_questions(found)
    half = 1.96 * math.sqrt(0.25 / 400)
    assert (low, high) == pytest.approx((right.mean() - half, right.mean() + half), abs=0.006)


def test_the_interval_over_questions_is_that_of_their_means():
    """Of n questions with differences 0 and 1, half each, the mean has the standard error 1 / (2 sqrt(n))."""
    differences = np.tile([0.0, 1.0], (3, 200))
    low, high = study.interval_over_questions(differences)
    half = 1.96 / (2 * math.sqrt(400))
    assert (low, high) == pytest.approx((0.5 - half, 0.5 + half), abs=0.006)
    assert study.interval_over_questions(np.full((2, 9), 0.25)) == (0.25, 0.25)


def test_the_table_and_the_figure_show_every_arm(results, tmp_path):
    base, arm = study.as_table(results, "grpo").splitlines()[2:]
    assert base.startswith("| grpo | 3 | 50.0 ± 0.0 | 60.0") and "| 1 of 3 |" in base and "| 2 of 2 |" in arm
    # the standard deviation of 20 and 10 is 7.07, and t is 12.706 with one degree of freedom
    assert "+15.0 ± 63.5 | +0.0 to +37.5 |" in arm
    study.draw(results, "grpo", tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000


def test_results_that_cannot_be_compared_are_refused_by_name(tmp_path):
    good = result(0.5, {"a": 0.5})
    (tmp_path / "grpo-1.json").write_text(json.dumps(good))
    for name, content, words in (
        ("mapo-1", json.dumps(good)[:-9], "mapo-1.json is no result of this study"),
        ("mapo-1", json.dumps({"steps": 2}), "mapo-1.json is no result of this study .KeyError"),
        ("mapo-1", json.dumps(good | {"steps": 4}), "holds runs of 2 and 4 steps"),
        ("mapo-old", json.dumps(good), "the name of a result is ARM-SEED.json"),
    ):
        (tmp_path / f"{name}.json").write_text(content)
        with pytest.raises(ConfigError, match=words):
            study.read_results(tmp_path)
        (tmp_path / f"{name}.json").unlink()


def test_runs_without_a_common_question_have_no_interval_over_questions(tmp_path):
    results = {"grpo": {1: result(0.5, {"a": 0.5})}, "mapo": {1: result(0.6, {"b": 0.5})}}
    assert study.as_table(results, "grpo").endswith("| +10.0 |  |")
    study.draw(results, "grpo", tmp_path / "figure.png")


def test_a_misspelt_arm_is_refused_before_anything_is_trained(tmp_path):
    command, others = ["bash", "scripts/study_mapo.sh", "3", str(tmp_path / "run")], {"OTHERS": "dapo gsop"}
    done = subprocess.run(command, cwd=SCRIPTS.parent, env=os.environ | others, capture_output=True, text=True)
    assert done.returncode == 2 and "OTHERS=gsop is refused" in done.stdout + done.stderr
    assert not (tmp_path / "run").exists()


def test_the_placebo_keeps_the_scores_of_a_group_and_changes_whose_they_are(queue, make_trainer):
    script_module("shuffled_mapo", SCRIPTS / "placebo")
    scores = [0.1, 0.3, 0.5, 0.9, None, 0.2]
    turns = [Turn((0, 1), "x", TurnStatus.OK, tool="zoom", described=True, score=score) for score in scores]
    trajectories = [Trajectory([], [], [turn], EndReason.ANSWER) for turn in turns]

    def advantages(*overrides: str) -> list[float]:
        queue.fields.clear()
        queue.fields.update(scored_rows([torch.ones(2)] * 6, [0.0] * 6, trajectories))
        columns = [trajectory.columns(1) for trajectory in trajectories]
        queue.fields.update({name: torch.stack([column[name] for column in columns]) for name in columns[0]})
        queue.fields["uid"] = ["a"] * 6
        make_trainer("method=mapo", *overrides)._compute_advantage(queue.batch([f"a_{n}_0" for n in range(6)]), {})
        return [float(row[0]) for row in queue.fields["advantages"].unbind()]

    real, placebo = advantages(), advantages("algorithm.adv_estimator=shuffled_mapo.ShuffledMapo")
    assert sorted(placebo) == pytest.approx(sorted(real)) and placebo != pytest.approx(real)
    assert placebo[4] == real[4] == 0, "a rollout without a score gets none"


def test_unscored_rollouts_and_other_groups_keep_their_scores_in_the_placebo():
    placebo = script_module("shuffled_mapo", SCRIPTS / "placebo")
    from verl_mapo.lens.estimators import exchanged

    member, group = torch.tensor([True, True, False, True, True]), torch.tensor([0, 0, 0, 1, 1])
    sources = {tuple(exchanged(member, group, torch.Generator().manual_seed(n)).tolist()) for n in range(30)}
    assert sources == {(a, 1 - a, 2, b, 7 - b) for a in (0, 1) for b in (3, 4)}
    assert placebo.ShuffledMapo.name == "shuffled_mapo" and SCORED == 1


def arms() -> list[str]:
    """The overrides of the arms in study_mapo.sh."""
    found = re.findall(r'method=[^")]*', (SCRIPTS / "study_mapo.sh").read_text())
    return [one.replace("$arm", name) for one in found for name in (("dapo", "gspo") if "$arm" in one else ("",))]


def test_every_arm_of_the_study_passes_the_checks_of_a_run():
    script_module("shuffled_mapo", SCRIPTS / "placebo")
    assert len(arms()) == 6
    for overrides in arms():
        check_config(compose_config("stack=cpu", "task=toy", *overrides.split()))


def dry_run(folder: Path, minutes: int, results: Path) -> str:
    """The output of train_arms with a verl-mapo that only writes its validation."""
    program = folder / "bin" / "verl-mapo"
    program.parent.mkdir(exist_ok=True)
    program.write_text(
        '#!/usr/bin/env bash\nmkdir -p "$3/trajectories/val"; touch "$3/trajectories/val/2.jsonl"; echo "$*"\n'
    )
    python = folder / "bin" / "python"
    python.write_text('#!/usr/bin/env bash\ntouch "${@: -1}"\n')
    for file in (program, python):
        file.chmod(0o755)
    script = f"""
        set -euo pipefail
        . scripts/environment.sh
        PATH={folder}/bin:$PATH STEPS=2 JOBS=1 SEEDS="1 2" MINUTES={minutes} RESULTS={results}
        . scripts/arms.sh
        ARMS=("grpo method=grpo" "mapo method=mapo")
        train_arms {folder} x=1
    """
    done = subprocess.run(["bash", "-c", script], cwd=SCRIPTS.parent, capture_output=True, text=True, check=True)
    return done.stdout + done.stderr


def test_arms_are_trained_seed_by_seed_and_a_run_with_a_result_is_skipped(tmp_path):
    results = tmp_path / "results"
    results.mkdir()
    (results / "mapo-1.json").touch()
    assert "minutes are nearly over" in dry_run(tmp_path, 10, results) and not (tmp_path / "runs").exists()
    shown = dry_run(tmp_path, 180, results)
    assert [line.split(" ", 1)[1] for line in shown.splitlines() if "seed" in line and ":" in line] != []
    assert {file.stem for file in results.iterdir()} == {"grpo-1", "grpo-2", "mapo-1", "mapo-2"}
    assert not (tmp_path / "runs" / "mapo-1").exists(), "its result was there"
    (results / "grpo-2.json").unlink()
    (tmp_path / "runs/grpo-2/progress.log").write_text("")
    dry_run(tmp_path, 180, results)
    assert (results / "grpo-2.json").exists() and not (tmp_path / "runs/grpo-2/progress.log").read_text()
