# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Forms in which models reply to a multiple choice: what each chooses, and how often rules read it wrong.

A line of ``letters.jsonl`` has the ``reply``, the ``options`` (empty where they are not known) and what it says
(``said``): letters, or null for a reply that chooses nothing. A false positive is a reply that is read as something
that it does not say; a false negative, one that says something and is read as nothing.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from verl_mapo.benchmarks.official import inferred_letter, leading_letter, mme_letter, mmmu_letter, vstar_letter
from verl_mapo.rewards.answers import extract
from verl_mapo.rewards.choices import choice

FORMS = [json.loads(line) for line in (Path(__file__).parent / "letters.jsonl").read_text("utf-8").splitlines()]


def ours(reply: str, options: list[str]) -> str | None:
    return choice(extract(reply), options) if extract(reply) else None


def faults(rule) -> tuple[list[dict], list[dict]]:
    """The forms that a rule reads as something that they do not say, and those that it does not read."""
    read = [(form, rule(form["reply"], form["options"])) for form in FORMS]
    wrong = [form for form, said in read if said != form["said"]]
    return [form for form, said in read if said is not None and form in wrong], [
        form for form, said in read if said is None and form in wrong
    ]


def test_no_form_is_read_as_what_it_does_not_say():
    assert faults(ours)[0] == []


def test_every_form_that_chooses_is_read():
    assert faults(ours)[1] == []


def test_there_are_many_forms_with_and_without_a_choice():
    assert len({(form["reply"], *form["options"]) for form in FORMS}) == len(FORMS) >= 300
    assert sum(form["said"] is None for form in FORMS) >= 50


@pytest.mark.parametrize(
    ("rule", "false_positives", "false_negatives"),
    [
        (lambda reply, options: vstar_letter(reply), 100, 60),
        (lambda reply, options: mme_letter(reply), 130, 20),
        (lambda reply, options: leading_letter(reply), 280, 100),
        (lambda reply, options: mmmu_letter(reply, options or "ABCD"), 40, 130),
        (lambda reply, options: inferred_letter(reply, options or "ABCD"), 10, 80),
    ],
    ids=["vstar", "mme_realworld", "leading_letter", "mmmu", "can_infer"],
)
def test_official_rules_misread_some_forms_and_are_kept_as_they_are(rule, false_positives, false_negatives):
    positives, negatives = faults(rule)
    assert len(positives) >= false_positives and len(negatives) >= false_negatives, (len(positives), len(negatives))
