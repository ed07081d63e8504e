# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Every row of ``answers.jsonl``: a response, its ground truth, its answer check, and whether the response is right.

To add a row, append a line with the keys ``text`` (the last turn), ``truth`` (any form of a row's ground truth),
``style`` (the answer check), ``verdict`` (true if the answer is right) and, for a multiple choice, ``options``. Add
wrong answers too: at least 40 % of the rows are wrong.
"""

import json
from pathlib import Path

import pytest

from verl_mapo.rewards.answers import extract, find_check, math_equal, truths_of

ROWS = [json.loads(line) for line in (Path(__file__).parent / "answers.jsonl").read_text("utf-8").splitlines()]


def judged(row: dict) -> bool:
    """Whether a row is right, as AnswerOutcome decides; ``math`` in this process, in whose main thread it works."""
    answer = extract(row["text"])
    check = math_equal if row["style"] == "math" else find_check(row["style"])
    keywords = {} if row["style"] == "math" else {"options": row.get("options", []), "tolerance": 1e-4}
    return bool(answer) and any(check(answer, truth, **keywords) for truth in truths_of(row["truth"]))


@pytest.fixture(scope="module")
def verdicts() -> list[bool]:
    return [judged(row) for row in ROWS]


def shown(rows: list[dict]) -> str:
    return f"{len(rows)} rows:\n" + "\n".join(map(json.dumps, rows))


def test_no_wrong_answer_is_accepted(verdicts):
    false_positives = [row for row, right in zip(ROWS, verdicts, strict=True) if right and not row["verdict"]]
    assert not false_positives, shown(false_positives)


def test_no_right_answer_is_lost(verdicts):
    false_negatives = [row for row, right in zip(ROWS, verdicts, strict=True) if row["verdict"] and not right]
    assert not false_negatives, shown(false_negatives)
