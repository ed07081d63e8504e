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
from math_verify import parse, verify
from support.answers import PATIENCE_S

from verl_mapo.rewards.answers import CHECKS, JUDGE, extract, find_check, math_equal, truths_of
from verl_mapo.rewards.math_process import cpu_limit

ROWS = [json.loads(line) for line in (Path(__file__).parent / "answers.jsonl").read_text("utf-8").splitlines()]


def judged(row: dict) -> bool:
    """Whether a row is right, as AnswerOutcome decides; ``math`` in this process, in whose main thread it works."""
    answer = extract(row["text"])
    truths = truths_of(row["truth"])
    if row["style"] == "math":
        with cpu_limit(PATIENCE_S):
            return bool(answer) and any(math_equal(answer, truth) for truth in truths)
    check, keywords = find_check(row["style"]), {"options": row.get("options", []), "tolerance": 1e-4}
    return bool(answer) and any(check(answer, truth, **keywords) for truth in truths)


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


def test_corpus_covers_every_check_with_right_and_wrong_answers():
    for style in (name for name in CHECKS.names if name != JUDGE):  # which is exact where no judge is asked
        wrong = [not row["verdict"] for row in ROWS if row["style"] == style]
        assert len(wrong) >= 50 and 0.4 <= sum(wrong) / len(wrong) <= 0.6, style
    rows = [json.dumps({**row, "verdict": None}, sort_keys=True) for row in ROWS]
    assert len(set(rows)) == len(rows)


def plain_math_verify(text: str, truth: str, boxed: bool) -> bool:
    """math-verify alone on a whole response, with the truth as it is or in a box as in verl's own reward function."""
    gold = parse(f"\\boxed{{{truth}}}" if boxed else truth, parsing_timeout=PATIENCE_S)
    return verify(gold, parse(text, parsing_timeout=PATIENCE_S), timeout_seconds=PATIENCE_S)


@pytest.mark.parametrize("boxed", [False, True])
def test_math_is_right_wherever_plain_math_verify_is_right(verdicts, boxed):
    rows = [(row, right) for row, right in zip(ROWS, verdicts, strict=True) if row["style"] == "math"]
    rows = [(row, right) for row, right in rows if isinstance(row["truth"], str)]
    plain = [plain_math_verify(row["text"], row["truth"], boxed) == row["verdict"] for row, _ in rows]
    worse = [row for (row, right), floor in zip(rows, plain, strict=True) if floor and right != row["verdict"]]
    assert not worse, shown(worse)
    assert sum(plain) < 0.8 * len(rows), "the corpus has rows that plain math-verify gets wrong"
