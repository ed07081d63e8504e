# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The verdicts that are read for a comparison are those of the judged answers."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verl_mapo.benchmarks.answers import QuestionAnswers, read_answers, write_answers
from verl_mapo.benchmarks.verdicts import read_verdicts
from verl_mapo.settings import ConfigError


def answered(name: str, ours: list[bool | None], group: str = "g") -> QuestionAnswers:
    count = len(ours)
    texts = [""] * count
    none = [None] * count
    return QuestionAnswers("vstar", name, "", "A", texts, none, ours, none, [False] * count, texts, none, group)


@given(st.lists(st.lists(st.sampled_from([True, False, None]), min_size=1, max_size=9), min_size=1, max_size=9))
def test_share_of_right_samples_is_that_of_the_answers(tmp_path_factory, verdicts):
    file = tmp_path_factory.mktemp("verdicts") / "answers.jsonl"
    write_answers((answered(str(place), ours, f"é{place // 2}") for place, ours in enumerate(verdicts)), file)
    found, answers = read_verdicts(file), read_answers(file)
    assert [*found.index] == [(answer.benchmark, answer.id) for answer in answers]
    assert found["right"].tolist() == [answer.right() for answer in answers]
    assert found["group"].tolist() == [answer.group for answer in answers]
    assert not read_verdicts(file, "official")["right"].any()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (['{"id": "1"}'], "line 1 of .* is no judged question with an answer"),
        ([json.dumps(asdict(answered("1", [True]))), json.dumps(asdict(answered("2", [])))], "line 2 of "),
        ([json.dumps(asdict(answered("1", [True])))] * 2, "holds vstar 1 twice"),
        (["no json"], "line 1 of .* is no judged question, because invalid JSON"),
        (["null"], "line 1 of .* is no judged question, because it should be an object"),
        (['{"id": 1}'], "line 1 of .* is no judged question, because it has no benchmark"),
        ([json.dumps(asdict(answered("1", [True]))), '{"id": "2", "ours": [tr'], "line 2 of .* is no judged question"),
        ([], "holds no judged questions"),
        (None, "is no file"),
    ],
)
def test_file_that_holds_something_else_is_an_error(tmp_path, lines, message):
    if lines is not None:
        (tmp_path / "answers.jsonl").write_text("\n".join(lines))
    with pytest.raises(ConfigError, match=message):
        read_verdicts(tmp_path / "answers.jsonl")
