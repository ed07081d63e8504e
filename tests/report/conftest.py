# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Small run folders, with the files that a training writes."""

from __future__ import annotations

import json

import pytest

from verl_mapo.report.load import Rollout
from verl_mapo.rollout.statuses import EndReason, TurnStatus
from verl_mapo.rollout.trajectory import Trajectory, Turn
from verl_mapo.run_folder import RunFolder, rollouts_file
from verl_mapo.tools.coordinates import View

CALL = '<tool_call>{"name": "zoom", "arguments": {"label": "red square", "bbox_2d": [15, 10, 30, 25]}}</tool_call>'


THOUGHT = "I should look closer.\n"


def view_of(region=(60, 40, 120, 100), image=0, quarter_turns=0) -> View:
    """A part of an original; by default the red square of the picture."""
    return View(image, region, quarter_turns, (84, 84))


def turn_of(**changes) -> Turn:
    """A turn that called zoom on the red square of the picture."""
    values = {
        "span": (0, 9),
        "text": CALL,
        "status": TurnStatus.OK,
        "tool": "zoom",
        "label": "red square",
        "label_tokens": 2,
        "img_idx": 0,
        "view": view_of(),
        "box_said": (15.0, 10.0, 30.0, 25.0),
        "described": True,
        "score": 0.3,
        "observation": "Image 1, 84 x 84 pixels.",
    }
    return Turn(**values | changes)


def record_of(step=1, uid="g", session=0, outcome=1.0, images=(), turns=None, **changes) -> dict:
    """A decoded line of a trajectories file; by default one zoom and an answer."""
    turns = [turn_of(), Turn((12, 15), "<answer>A</answer>")] if turns is None else turns
    trajectory = Trajectory(list(images), [(448, 300) for _ in images], turns, EndReason.ANSWER)
    values = {
        "step": step,
        "split": "train",
        "data_source": "toy",
        "uid": uid,
        "session": session,
        "question": "Which letter is inside the red square?",
        "ground_truth": "A",
        "outcome": outcome,
        "alignment": 0.3,
        "advantage": outcome - 0.5,
        "a_out": outcome - 0.5,
        "a_sem": 0.0,
        "trajectory": trajectory.to_record(),
        "axpo": None,
        "credit": None,
    }
    values |= changes
    return json.loads(json.dumps({"question_id": f"{values['data_source']}: {values['question']}"} | values))


def axpo_of(role="plain", prefix_id=-1, **changes) -> dict:
    """The ``axpo`` part of a line."""
    values = {"prefix_length": 0 if role == "plain" else 7, "confidence": None, "a_prefix": None, "recovered": None}
    return {"role": role, "prefix_id": prefix_id, "cached_tokens": None} | values | changes


@pytest.fixture
def make_view():
    return view_of


@pytest.fixture
def make_axpo():
    return axpo_of


@pytest.fixture
def make_turn():
    return turn_of


@pytest.fixture
def make_credit():
    """The ``credit`` part of a line: two stretches of tokens, the first token before any image."""

    def credit(**changes):
        values = {
            "tokens": ["It", " is", " <b>", "A"],
            "focus": [None, 0.5, 0.6, 0.55],
            "advantage": [-1.0, -0.5, 0.0, 0.25],
            "stretches": [2, 2],
            "trajectory_factor": 1.25,
        }
        return values | changes

    return credit


@pytest.fixture
def make_record(picture):
    """Decoded lines whose trajectories have an original that exists."""
    return lambda **changes: record_of(**{"images": [picture]} | changes)


@pytest.fixture
def make_rollout(make_record):
    return lambda **changes: Rollout.from_record(make_record(**changes))


@pytest.fixture
def write_run(tmp_path):
    """Writes a run folder from metrics by step, records by step and a configuration; returns its path."""

    def write(metrics=None, records=None, name="some-run", config=None):
        run = RunFolder(tmp_path / name)
        run.trajectories.mkdir(parents=True)
        if metrics is not None:
            text = "".join(json.dumps({"step": step, "data": data}) + "\n" for step, data in metrics.items())
            (run.path / "metrics.jsonl").write_text(text)
        for step, rollouts in (records or {}).items():
            for split in {record["split"] for record in rollouts}:
                file = rollouts_file(run.trajectories, split, step)
                file.parent.mkdir(exist_ok=True)
                lines = [json.dumps(record) + "\n" for record in rollouts if record["split"] == split]
                file.write_text("".join(lines))
        if config is not None:
            run.about.write_text(json.dumps({"config": config}))
        return run.path

    return write


@pytest.fixture
def make_fork(make_record):
    """Records of a prompt of three rollouts, of which the second is a source, and of continuations with outcomes."""

    def fork(outcomes, step=1, uid="a", fresh=False):
        turns = [turn_of(text=THOUGHT + CALL), Turn((12, 15), "<answer>A</answer>")]

        def record(session, axpo, outcome=0.0, **changes):
            values = {"step": step, "uid": uid, "session": session, "outcome": outcome, "turns": turns, "axpo": axpo}
            return make_record(**values, a_out=None, a_sem=None, **changes)

        credit = 1.15 if 1.0 in outcomes else 0.0
        source = axpo_of("source", 1, confidence=0.81, a_prefix=credit, recovered=1.0 in outcomes)
        continuation = axpo_of("resample", 1, **({"prefix_length": 0} if fresh else {}))
        return [
            record(0, axpo_of(confidence=0.94), advantage=0.0),
            record(1, axpo_of(confidence=0.81) if fresh else source, advantage=0.0 if fresh else credit),
            record(2, axpo_of(), advantage=0.0),
            *(record(3 + i, continuation, outcome, advantage=outcome - 0.25) for i, outcome in enumerate(outcomes)),
        ]

    return fork


@pytest.fixture
def forked_run(make_fork, write_run):
    """Three steps of AXPO; in the second step one of two prefixes recovers, in the others none does."""
    rates = {1: 0.0, 2: 0.5, 3: 0.0}
    metrics = {
        step: {"axpo/recovery_rate": rate, "axpo/trigger_rate": 1.0, "axpo/outcome/original": 0.0}
        for step, rate in rates.items()
    }
    records = {step: make_fork([0.0, 0.0], step, "b") for step in rates}
    records[2] += make_fork([0.0, 1.0], 2, "a")
    return write_run(metrics, records, name="forked-run")


@pytest.fixture
def whole_run(make_record, write_run):
    """Three steps of two prompts with two rollouts each; two validations of two questions, of which one got better."""

    def val(step, outcomes):
        return [
            make_record(step=step, split="val", uid=f"v{step}{i}", outcome=outcome, question=f"q{i}", advantage=None)
            for i, outcome in enumerate(outcomes)
        ]

    def train(step):
        pairs = [(uid, session) for uid in "ab" for session in (0, 1)]
        return [make_record(step=step, uid=uid, session=i, outcome=float(i and uid == "a")) for uid, i in pairs]

    training = {"mapo/outcome/mean": 0.25, "rollout_visual/tool_rate": 1.0, "rollout_visual/end/answer": 1.0}
    metrics = {
        0: {"val-core/toy/acc/mean@1": 0.0, "val-aux/toy/alignment/mean@1": 0.2},
        1: training,
        2: training,
        3: training | {"val-core/toy/acc/mean@1": 0.5, "val-aux/toy/alignment/mean@1": 0.3},
    }
    records = {0: val(0, [0.0, 0.0]), 1: train(1), 2: train(2), 3: [*val(3, [0.0, 1.0]), *train(3)]}
    return write_run(metrics, records)


@pytest.fixture
def two_source_run(make_record, write_run):
    """Validations of 20 questions of ``a``, which all got better, and of 20 of ``b``: five better, five worse."""

    def val(step, source, outcomes):
        values = {"step": step, "split": "val", "data_source": source, "advantage": None}
        return [make_record(uid=f"{source}{i}", question=f"q{i}", outcome=o, **values) for i, o in enumerate(outcomes)]

    answer = [Turn((0, 5), "<answer>A</answer>")]
    records = {
        0: [*val(0, "a", [0.0] * 20), *val(0, "b", [1.0, 0.0] * 10)],
        5: [
            *val(5, "a", [1.0] * 20),
            *val(5, "b", [1.0, 0.0] * 5 + [0.0, 1.0] * 5),
            make_record(step=5, data_source="a", outcome=1.0, alignment=0.5, axpo=axpo_of()),
            make_record(step=5, data_source="a", outcome=0.0, alignment=None, turns=answer, axpo=axpo_of()),
            make_record(step=5, data_source="a", outcome=1.0, alignment=0.9, axpo=axpo_of("resample", 0)),
        ],
    }
    metrics = {
        0: {"val-core/a/acc/mean@1": 0.0, "val-core/b/acc/mean@1": 0.5},
        5: {"val-core/a/acc/mean@1": 1.0, "val-core/b/acc/mean@1": 0.5},
    }
    return write_run(metrics, records, name="two-source-run")
