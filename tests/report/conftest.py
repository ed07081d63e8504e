# Copyright 2026 The verl_mapo authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Run folders as a training writes them, in small."""

from __future__ import annotations

import json

import pytest

from verl_mapo.report.load import Rollout
from verl_mapo.rollout.trajectory import Trajectory, Turn

CALL = '<tool_call>{"name": "zoom", "arguments": {"label": "red square", "bbox_2d": [15, 10, 30, 25]}}</tool_call>'


def look(**changes) -> Turn:
    """A turn that looked at the red square of the picture."""
    values = {
        "span": (0, 9),
        "text": CALL,
        "status": "ok",
        "tool": "zoom",
        "label": "red square",
        "label_tokens": 2,
        "img_idx": 0,
        "image": 0,
        "box_said": (15.0, 10.0, 30.0, 25.0),
        "box_executed": (60, 40, 120, 100),
        "described": True,
        "score": 0.3,
        "observation": "Image 1, 84 x 84 pixels.",
    }
    return Turn(**values | changes)


def line_of(step=1, uid="g", session=0, outcome=1.0, images=(), turns=None, **changes) -> dict:
    """A line of a trajectories file, decoded; by default one look and an answer."""
    turns = [look(), Turn((12, 15), "<answer>A</answer>")] if turns is None else turns
    trajectory = Trajectory(list(images), [(448, 300) for _ in images], turns, "answer")
    values = {
        "step": step,
        "split": "train",
        "uid": uid,
        "session": session,
        "question": "Which letter is inside the red square?",
        "ground_truth": "A",
        "outcome": outcome,
        "alignment": 0.3,
        "advantage": outcome - 0.5,
        "a_out": outcome - 0.5,
        "a_sem": 0.0,
        "trajectory": trajectory.record(),
    }
    return json.loads(json.dumps(values | changes))


@pytest.fixture
def make_turn():
    return look


@pytest.fixture
def make_credit():
    """What a line says of visual credit: two stretches of tokens, the first token before any image."""

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
def make_line(picture):
    """Lines whose trajectories looked at a picture that exists."""
    return lambda **changes: line_of(**{"images": [picture]} | changes)


@pytest.fixture
def make_rollout(make_line):
    return lambda **changes: Rollout.of(make_line(**changes))


@pytest.fixture
def write_run(tmp_path):
    """Writes a run folder from metrics by step and lines by step; returns its path."""

    def write(metrics=None, lines=None, name="some-run"):
        run = tmp_path / name
        (run / "trajectories").mkdir(parents=True)
        if metrics is not None:
            text = "".join(json.dumps({"step": step, "data": data}) + "\n" for step, data in metrics.items())
            (run / "metrics.jsonl").write_text(text)
        for step, rollouts in (lines or {}).items():
            for split in {line["split"] for line in rollouts}:
                file = run / "trajectories" / split / f"{step}.jsonl"
                file.parent.mkdir(exist_ok=True)
                file.write_text("".join(json.dumps(line) + "\n" for line in rollouts if line["split"] == split))
        return run

    return write


THOUGHT = "I should look closer.\n"


def explored(role="plain", prefix_id=-1, **changes) -> dict:
    """What a line says of AXPO."""
    values = {"prefix_tokens": 0 if role == "plain" else 7, "confidence": None, "a_prefix": None, "recovered": None}
    return {"role": role, "prefix_id": prefix_id, "cached_tokens": None} | values | changes


@pytest.fixture
def make_fork(make_line):
    """Lines of a prompt of three rollouts, of which the second is a source, and of its continuations' outcomes."""

    def fork(outcomes, step=1, uid="a", fresh=False):
        turns = [look(text=THOUGHT + CALL), Turn((12, 15), "<answer>A</answer>")]

        def line(session, axpo, outcome=0.0, **changes):
            values = {"step": step, "uid": uid, "session": session, "outcome": outcome, "turns": turns, "axpo": axpo}
            return make_line(**values, a_out=None, a_sem=None, **changes)

        credit = 1.15 if 1.0 in outcomes else 0.0
        source = explored("source", 1, confidence=0.81, a_prefix=credit, recovered=1.0 in outcomes)
        resample = explored("resample", 1, **({"prefix_tokens": 0} if fresh else {}))
        return [
            line(0, explored(confidence=0.94), advantage=0.0),
            line(1, explored(confidence=0.81) if fresh else source, advantage=0.0 if fresh else credit),
            line(2, explored(), advantage=0.0),
            *(line(3 + i, resample, outcome, advantage=outcome - 0.25) for i, outcome in enumerate(outcomes)),
        ]

    return fork


@pytest.fixture
def forked_run(make_fork, write_run):
    """Three steps of AXPO; in the second one of two prefixes recovers, in the others none does."""
    rates = {1: 0.0, 2: 0.5, 3: 0.0}
    metrics = {
        step: {"axpo/recovery_rate": rate, "axpo/trigger_rate": 1.0, "axpo/outcome/original": 0.0}
        for step, rate in rates.items()
    }
    lines = {step: make_fork([0.0, 0.0], step, "b") for step in rates}
    lines[2] += make_fork([0.0, 1.0], 2, "a")
    return write_run(metrics, lines, name="forked-run")


@pytest.fixture
def whole_run(make_line, write_run):
    """Three steps, validated first and last, two prompts of two rollouts a step; one question got better."""

    def val(step, outcomes):
        return [
            make_line(step=step, split="val", uid=f"v{step}{i}", outcome=outcome, question=f"q{i}", advantage=None)
            for i, outcome in enumerate(outcomes)
        ]

    def train(step):
        pairs = [(uid, session) for uid in "ab" for session in (0, 1)]
        return [make_line(step=step, uid=uid, session=i, outcome=float(i and uid == "a")) for uid, i in pairs]

    training = {"mapo/outcome/mean": 0.25, "rollout_visual/tool_rate": 1.0, "rollout_visual/end/answer": 1.0}
    metrics = {
        0: {"val-core/toy/acc/mean@1": 0.0, "val-aux/toy/alignment/mean@1": 0.2},
        1: training,
        2: training,
        3: training | {"val-core/toy/acc/mean@1": 0.5, "val-aux/toy/alignment/mean@1": 0.3},
    }
    lines = {0: val(0, [0.0, 0.0]), 1: train(1), 2: train(2), 3: [*val(3, [0.0, 1.0]), *train(3)]}
    return write_run(metrics, lines)
