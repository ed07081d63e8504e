# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The page of causes: its table, and real and swapped images of the recorded audits side by side."""

from __future__ import annotations

import base64
import io
import json
import re

import pytest
from PIL import Image
from typer.testing import CliRunner

from verl_mapo.benchmarks.answers import QuestionAnswers, write_answers
from verl_mapo.benchmarks.audits import JudgedAudit, JudgedSwap
from verl_mapo.cli import app
from verl_mapo.rollout.audit_record import Audit, Swap
from verl_mapo.rollout.statuses import EndReason

from .conftest import record_of


def audited(picture: str, other: str, session: int, outcome: float, swapped: float) -> dict:
    record = record_of(split="val", step=0, session=session, outcome=outcome, images=[picture])
    swaps = [
        Swap(
            "random_crop", picture, (200, 200, 260, 260), "<answer>B</answer>", 0, EndReason.ANSWER, "", -4.0, swapped
        ),
        Swap("other_image", other, (0, 0, 60, 60), "<answer>C</answer>", 1, EndReason.ANSWER, "", -5.5, 0.0),
        Swap("blank", "", None, "", 0, EndReason.EMPTY, "", None, None),
        Swap("repeat", picture, (60, 40, 120, 100), "<answer>A</answer>", 0, EndReason.ANSWER, "", -0.25, 1.0),
    ]
    record["trajectory"]["audit"] = Audit(0, -0.25, swaps).to_record()
    return record | {"question_id": f"q{session}"}


@pytest.fixture
def runs(tmp_path, picture):
    """A run with tools and audits, and one without tools."""
    other = tmp_path / "other.png"
    Image.new("RGB", (90, 90), (20, 90, 20)).save(other)
    file = tmp_path / "tools" / "trajectories" / "val" / "0.jsonl"
    file.parent.mkdir(parents=True)
    outcomes = [(1.0, 0.0), (1.0, 1.0), (0.0, 0.0)]
    lines = [audited(picture, str(other), session, *ends) for session, ends in enumerate(outcomes)]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "tools" / "config").mkdir()
    (tmp_path / "tools" / "config.yaml").write_text("{}\n")
    for name, called in (("tools", True), ("direct", False)):
        (tmp_path / name).mkdir(exist_ok=True)
        swaps = {"blank": JudgedSwap(None, False, None)}
        answer = QuestionAnswers(
            "toy", "1", "", "A", [""], [None], [called], [None], [called], [""], [None], "1",
            audit=[JudgedAudit(None, swaps) if called else None],
        )  # fmt: skip
        write_answers([answer], tmp_path / name / "answers.jsonl")
    return tmp_path / "tools", tmp_path / "direct"


def test_page_shows_the_table_and_the_images_side_by_side(runs, tmp_path):
    arguments = ["bench", "causes", *map(str, runs), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    assert "blank: right answers that stay right" in done.stdout and "causes.html" in done.stdout
    page = (tmp_path / "out" / "causes.html").read_text()
    for text in (
        "Right because of the look: 1 rollout<",
        "Called without looking: 1 rollout<",
        "Wrong with and without the look: 1 rollout<",
        "<h4>random crop</h4>",
        "log p −5.50",
        "1 more call<",
        "not judged",
        "call gain",
    ):
        assert text in page, text
    assert "right without the look" not in page
    urls = re.findall(r'<img src="data:image/jpeg;base64,([^"]+)" alt="(\w+ ?\w*)">', page)
    shown = [(title, Image.open(io.BytesIO(base64.b64decode(content)))) for content, title in urls]
    looks = [(title, image) for title, image in shown if title in ("other image", "blank", "real look")]
    for title, image in looks:
        red, green, _ = image.convert("RGB").resize((1, 1)).getpixel((0, 0))
        assert {"other image": green > 60 > red, "blank": red == green == 127, "real look": red > 180 > green}[title]
    assert len(looks) == 9
    assert json.loads((tmp_path / "out" / "causes.json").read_text())["toy"]["swaps"][0]["kind"] == "blank"


def test_run_without_recorded_rollouts_has_the_table_alone(runs, tmp_path):
    (runs[0] / "trajectories" / "val" / "0.jsonl").unlink()
    done = CliRunner().invoke(app, ["bench", "causes", *map(str, runs), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    page = (tmp_path / "out" / "causes.html").read_text()
    assert "call gain" in page and "<h3>" not in page


def test_out_that_is_a_file_is_refused_before_the_table(runs, tmp_path):
    (tmp_path / "out").write_text("")
    done = CliRunner().invoke(app, ["bench", "causes", *map(str, runs), "--out", str(tmp_path / "out")])
    assert done.exit_code == 2 and "is a file: give a folder" in " ".join(done.output.replace("│", " ").split())
    assert not done.stdout
