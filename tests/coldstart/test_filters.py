# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Each filter on rollouts that it keeps and that it removes, and what holds for any set of candidates."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verl_mapo.coldstart.filters import Candidate, FilterSettings, Question, Removal, removal_of, select
from verl_mapo.report.load import Rollout
from verl_mapo.rollout.statuses import EndReason, LabelFault, TurnStatus
from verl_mapo.rollout.trajectory import Trajectory, Turn
from verl_mapo.settings import ConfigError, parse_node
from verl_mapo.tools.coordinates import View


def zoom(**fields: Any) -> Turn:
    """A visual turn whose call was executed on the box (10, 10, 30, 30)."""
    whole = {
        "status": TurnStatus.OK,
        "tool": "zoom",
        "label": "a red square",
        "described": True,
        "score": 0.3,
        "view": View(0, (10, 10, 30, 30), 0, (56, 56)),
        "box_asked": (10.0, 10.0, 30.0, 30.0),
    }
    return Turn((0, 20), "<tool_call>", **whole | fields)


ANSWER = Turn((30, 40), "<answer>red</answer>")


def rollout_of(
    *turns: Turn, end: EndReason | None = EndReason.ANSWER, outcome: float = 1.0, error: str = ""
) -> Rollout:
    """A record that holds these turns."""
    empty = dict.fromkeys(("alignment", "advantage", "a_out", "a_sem", "axpo", "credit"))
    trajectory = Trajectory(["a.png"], [(100, 100)], list(turns), end, error=error)
    names = {"data_source": "s", "uid": "u", "question_id": "q", "question": "?", "ground_truth": "red"}
    return Rollout(1, "train", **names, session=0, outcome=outcome, trajectory=trajectory, **empty)


NEAR, FAR = Question(0, [(10, 10, 30, 40), (90, 90, 95, 95)]), Question(0, [(60, 60, 80, 80)])
"""The box of :func:`zoom` has an IoU of 400 / 600 with the first box, and none with the others."""

CASES = [
    (rollout_of(zoom(), ANSWER), NEAR, {}, None),
    (rollout_of(ANSWER), NEAR, {}, None),
    (rollout_of(zoom(), ANSWER), None, {}, Removal.UNKNOWN_QUESTION),
    (rollout_of(end=None), NEAR, {}, Removal.NO_TRAJECTORY),
    (rollout_of(ANSWER, error="The tool failed."), NEAR, {}, Removal.NO_OUTCOME),
    (rollout_of(ANSWER, outcome=0.0), NEAR, {}, Removal.WRONG),
    (rollout_of(ANSWER, outcome=0.5), NEAR, {"min_outcome": 0.5}, None),
    (rollout_of(zoom(), end=EndReason.RESPONSE_LENGTH), NEAR, {}, Removal.UNFINISHED),
    (rollout_of(zoom(), Turn((30, 31), " \n")), NEAR, {}, Removal.UNFINISHED),
    (rollout_of(zoom(), end=EndReason.TURN_LIMIT), NEAR, {"unfinished": True}, None),
    (rollout_of(ANSWER), NEAR, {"min_calls": 1}, Removal.FEW_CALLS),
    (rollout_of(zoom(), ANSWER), NEAR, {"min_calls": 1, "max_calls": 1}, None),
    (rollout_of(zoom(), zoom(), ANSWER), NEAR, {"max_calls": 1}, Removal.MANY_CALLS),
    (rollout_of(ANSWER), NEAR, {"max_calls": 0}, None),
    *[
        (rollout_of(zoom(**fault), ANSWER), NEAR, {}, Removal.FAULTY_CALL)
        for fault in (
            {"status": TurnStatus.BAD_BOX, "view": None, "faults": [LabelFault.REFUSED]},
            {"status": TurnStatus.NO_JSON, "tool": None, "described": False},
            {"lenient": True},
            {"other_units": "pixels"},
            {"after_call": 3},
        )
    ],
    (rollout_of(zoom(lenient=True), ANSWER), NEAR, {"faulty_calls": True}, None),
    (rollout_of(zoom(label=None), ANSWER), NEAR, {}, Removal.NO_LABEL),
    (rollout_of(zoom(label="  "), ANSWER), NEAR, {}, Removal.NO_LABEL),
    (rollout_of(zoom(faults=[LabelFault.LONG_LABEL]), ANSWER), NEAR, {}, Removal.NO_LABEL),
    (rollout_of(zoom(label=None), ANSWER), NEAR, {"unlabelled": True}, None),
    (rollout_of(zoom(label=None, described=False), ANSWER), NEAR, {}, None),
    (rollout_of(zoom(), zoom(score=0.1), ANSWER), NEAR, {"min_alignment": 0.2}, Removal.LOW_ALIGNMENT),
    (rollout_of(zoom(), zoom(score=None), ANSWER), NEAR, {"min_alignment": 0.2}, Removal.NO_ALIGNMENT),
    (rollout_of(zoom(score=0.2), ANSWER), NEAR, {"min_alignment": 0.2}, None),
    (rollout_of(zoom(score=None), ANSWER), NEAR, {}, None),
    (rollout_of(ANSWER), NEAR, {"min_alignment": 0.9}, None),
    (rollout_of(zoom(), ANSWER), NEAR, {"min_iou": 0.66}, None),
    (rollout_of(zoom(), ANSWER), NEAR, {"min_iou": 0.67}, Removal.FAR_BOX),
    (rollout_of(zoom(), zoom(box_asked=(60, 60, 80, 80)), ANSWER), FAR, {"min_iou": 1.0}, None),
    (rollout_of(zoom(view=View(1, (0, 0, 9, 9), 0, (56, 56))), ANSWER), FAR, {"min_iou": 0.5}, None),
    (rollout_of(zoom(), ANSWER), Question(0), {"min_iou": 0.5}, None),
    (rollout_of(ANSWER), FAR, {"min_iou": 0.5}, None),
    (rollout_of(zoom(), ANSWER), NEAR, {"max_tokens": 40}, None),
    (rollout_of(zoom(), ANSWER), NEAR, {"max_tokens": 39}, Removal.LONG),
]


@pytest.mark.parametrize(("rollout", "question", "settings", "removal"), CASES)
def test_first_filter_that_a_rollout_does_not_pass_is_named(rollout, question, settings, removal):
    assert removal_of(rollout, question, "before", FilterSettings(**settings)) is removal


@pytest.mark.parametrize(("describe", "passes"), [("before", True), ("after", False), ("both", False)])
def test_calls_need_the_texts_that_the_training_asks_for(describe, passes):
    removal = removal_of(rollout_of(zoom(), ANSWER), NEAR, describe, FilterSettings())
    assert (removal is None) is passes
    described = rollout_of(zoom(description="a square"), ANSWER)
    assert removal_of(described, NEAR, describe, FilterSettings()) is None


def test_impossible_settings_are_refused_with_their_name():
    for wrong in ({"min_iou": 2.0}, {"tool_share": -0.1}, {"per_question": -1}, {"max_calls": -1}):
        with pytest.raises(ConfigError, match=rf"verl-mapo collect\.{next(iter(wrong))}="):
            parse_node(FilterSettings, wrong, "verl-mapo collect")


def test_share_of_calls_by_hand():
    """Of six rows with a call and four without, a share of a half keeps four of each; a quarter one and four."""
    rows = [Candidate("run", str(place), place, (f"text {place}",), calls=int(place < 6)) for place in range(10)]
    for share, counts in {0.5: (4, 4), 0.25: (1, 4), 0.6: (6, 4), 0.75: (6, 2), 0.0: (0, 4), 1.0: (6, 0)}.items():
        kept, removed = select(rows, FilterSettings(tool_share=share))
        calling = sum(candidate.calls for candidate in kept)
        assert (calling, len(kept) - calling) == counts
        assert {removal for _, removal in removed} <= {Removal.BALANCE}


CANDIDATES = st.lists(
    st.builds(
        Candidate,
        source=st.just("run"),
        name=st.uuids().map(str),
        place=st.integers(0, 4),
        turns=st.tuples(st.sampled_from("abcd")),
        calls=st.integers(0, 2),
    ),
    max_size=30,
)
SETTINGS = st.builds(
    FilterSettings,
    per_question=st.one_of(st.none(), st.integers(1, 3)),
    tool_share=st.one_of(st.none(), st.floats(0, 1)),
    seed=st.integers(0, 3),
)


@given(CANDIDATES, SETTINGS, st.randoms(use_true_random=False))
def test_choice_among_any_candidates(candidates: list[Candidate], settings: FilterSettings, order: random.Random):
    kept, removed = select(candidates, settings)
    assert Counter(candidates) == Counter([*kept, *(candidate for candidate, _ in removed)]), "each is counted once"
    shuffled = order.sample(candidates, len(candidates))
    assert select(shuffled, settings) == (kept, removed), "the order of reading has no influence"
    assert len({(candidate.place, candidate.turns) for candidate in kept}) == len(kept), "no text comes twice"
    if settings.per_question is not None:
        assert max(Counter(candidate.place for candidate in kept).values(), default=0) <= settings.per_question
    reasons = Counter(removal for _, removal in removed)
    if settings.tool_share is None:
        assert not reasons[Removal.BALANCE]
    elif reasons[Removal.BALANCE]:
        cut = {candidate.calls > 0 for candidate, removal in removed if removal is Removal.BALANCE}
        assert len(cut) == 1, "one kind alone is cut"
        share = settings.tool_share if cut == {True} else 1 - settings.tool_share
        same = sum((candidate.calls > 0) in cut for candidate in kept)
        assert same <= share * len(kept) + 1e-6, "not above its share"
        assert same + 1 > share * (len(kept) + 1) - 1e-6, "and with one more it would be"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"min_calls": 3, "max_calls": 1}, "--min-calls 3 and --max-calls 1 leave no rollout: set --max-calls 3 or"),
        ({"tool_share": 0.5, "max_calls": 0}, "--tool-share 0.5 and --max-calls 0 leave no rollout"),
        ({"tool_share": 0.5, "min_calls": 1}, "--tool-share 0.5 and --min-calls 1 leave no rollout"),
        ({"min_outcome": float("nan")}, "min_outcome=nan is refused"),
    ],
)
def test_filters_that_leave_no_rollout_are_refused(given, sentence):
    with pytest.raises(ConfigError, match=sentence):
        parse_node(FilterSettings, given, "verl-mapo collect")


def test_rollout_without_text_is_removed_whatever_else_is_kept():
    kept = FilterSettings(min_outcome=0, unfinished=True, max_tokens=10)
    for rollout in (rollout_of(end=EndReason.UNREADABLE_IMAGE), rollout_of(zoom(), Turn((30, 31), " "))):
        assert removal_of(rollout, NEAR, "before", kept) is Removal.EMPTY
