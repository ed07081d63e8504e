# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pickle

from verl_mapo.training.audited_questions import AuditedQuestions


def rows() -> list[dict]:
    return [
        {"data_source": "toy", "index": place, "raw_prompt": [], "reward_model": {"ground_truth": ["red", "crimson"]}}
        for place in range(400)
    ]


def test_share_of_the_questions_is_audited_with_their_first_truth_and_a_larger_one_has_them_all():
    few, more = ([AuditedQuestions(share)(row) for row in rows()] for share in (0.1, 0.5))
    assert set(few) == set(more) == {"red", ""}
    assert 20 < few.count("red") < 60 and 160 < more.count("red") < 240
    assert all(other for one, other in zip(few, more, strict=True) if one)
    assert not any(AuditedQuestions(0.0)(row) for row in rows()) and all(AuditedQuestions(1.0)(row) for row in rows())
    assert [pickle.loads(pickle.dumps(AuditedQuestions(0.1)))(row) for row in rows()] == few
