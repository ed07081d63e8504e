# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The causes of a benchmark from judged answers, against values computed by hand, and the table of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from verl_mapo.benchmarks.answers import QuestionAnswers
from verl_mapo.benchmarks.audits import JudgedAudit, JudgedSwap, causes_of, check_order, judged_audit
from verl_mapo.benchmarks.causes_table import table
from verl_mapo.rollout.audit_record import Audit, Swap
from verl_mapo.rollout.trajectory import Trajectory
from verl_mapo.run_folder import RunFolder
from verl_mapo.settings import ConfigError


def answered(name: str, right: list[bool | None], called: list[bool], **more) -> QuestionAnswers:
    count = len(right)
    texts, none = [""] * count, [None] * count
    made = QuestionAnswers("toy", name, "", "Q", texts, none, right, [False] * count, called, texts, none, name)
    return replace(made, **more)


def audit(real: float | None, **swaps) -> JudgedAudit:
    return JudgedAudit(real, {kind: JudgedSwap(*found, True) for kind, found in swaps.items()})


WITH = [
    answered(
        "1", [True, True], [True, True], alignment=[0.5, None], iou=[0.5, 0.0],
        audit=[audit(-1.0, blank=(-3.0, False)), audit(-1.0, blank=(-2.0, True), random_crop=(None, None))],
    ),
    answered("2", [False, None], [True, False], audit=[audit(-2.0, blank=(-1.0, True)), None], alignment=[0.1, None]),
    answered("3", [True, True], [False, False], audit=[None, None]),
]  # fmt: skip
WITHOUT = [
    answered("1", [False, True], [False] * 2),
    answered("2", [True] * 2, [False] * 2),
    answered("3", [False] * 2, [False] * 2),
]


def test_effects_of_tools_and_swaps_by_hand():
    found = causes_of(WITH, WITHOUT)["toy"]
    effects = found.effects
    assert effects.call_gain == pytest.approx(1 / 6) and effects.schema_gain == pytest.approx(2 / 6)
    assert effects.call_harm == pytest.approx(1 / 6) and effects.schema_harm == pytest.approx(1 / 6)
    assert effects.total == pytest.approx(effects.accuracy_with - effects.accuracy_without, abs=1e-12)
    blank, crop = found.swaps
    assert (blank.kind, blank.looks, crop.kind, crop.looks) == ("blank", 3, "random_crop", 1)
    assert (blank.accuracy.value, blank.swapped.value) == pytest.approx((2 / 3, 2 / 3))
    assert blank.without_looking.value == 0.5 and blank.without_looking.units == 1
    assert blank.evidence.value == pytest.approx((2 + 1 - 1) / 3)
    assert crop.evidence is None and crop.without_looking.value == 0.0
    assert found.alignment.value == pytest.approx(0.3) and found.adaptiveness is None
    assert found.iou.value == 0.25 and found.hit.value == 0.5
    assert causes_of(WITH, WITHOUT, "official")["toy"].swaps[0].without_looking is None


def test_answers_without_audits_have_meds_terms_alone():
    plain = [replace(answer, audit=[], alignment=[], iou=[None, None]) for answer in WITH]
    found = causes_of(plain, WITHOUT)["toy"]
    assert (found.swaps, found.alignment, found.iou, found.hit) == ([], None, None, None)
    assert found.effects == causes_of(WITH, WITHOUT)["toy"].effects


def test_adaptiveness_needs_five_answers_without_tools():
    looked = [answered("1", [True] * 5, [True] * 5), answered("2", [True] * 5, [False, False, False, False, True])]
    direct = [answered("1", [False] * 5, [False] * 5), answered("2", [True] * 5, [False] * 5)]
    assert causes_of(looked, direct)["toy"].adaptiveness == pytest.approx((1 + 4 / 5) / 2)
    assert causes_of(looked[:1], direct[:1])["toy"].adaptiveness is None, "no question is easy"


def test_runs_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match="answered different questions: 1 only in the first"):
        causes_of(WITH, WITHOUT[1:])
    with pytest.raises(ConfigError, match="toy 1 has 2 answers with tools and 1 without"):
        causes_of(WITH, [replace(WITHOUT[0], ours=[True]), *WITHOUT[1:]])


def test_runs_in_the_wrong_order_are_refused(tmp_path):
    silent = [replace(answer, audit=[], called=[False] * 2) for answer in WITH]
    with pytest.raises(ConfigError, match="without tools has 3 audited looks: give the answers of the run with tools"):
        causes_of(WITHOUT, WITH)
    with pytest.raises(ConfigError, match="with tools has no call of a tool, and the run without has 3: give"):
        causes_of(WITHOUT, [replace(answer, audit=[]) for answer in WITH])
    assert causes_of(silent, WITHOUT)["toy"].effects.call_gain == 0.0, "a model may leave its tools alone"
    for name, tools in (("direct", "[]"), ("tools", "[zoom]")):
        RunFolder(tmp_path / name).config.parent.mkdir(parents=True)
        RunFolder(tmp_path / name).config.write_text(f"visual_tool: {{tools: {tools}}}\n")
    check_order(tmp_path / "tools", tmp_path / "direct")
    check_order(tmp_path / "unknown", tmp_path / "unknown")
    with pytest.raises(ConfigError, match=r"WITH_TOOLS .*direct is a run with visual_tool.tools=\[\]: give"):
        check_order(tmp_path / "direct", tmp_path / "tools")
    with pytest.raises(ConfigError, match=r"WITHOUT .*tools is a run with visual_tool.tools=\[zoom\]: give"):
        check_order(tmp_path / "unknown", tmp_path / "tools")


def test_table_has_a_column_for_each_benchmark():
    found = causes_of(WITH, WITHOUT)
    frame = table([found["toy"], replace(found["toy"], benchmark="other", swaps=[])])
    assert list(frame.columns) == ["number", "toy", "other"]
    lost = [replace(WITH[0], error=["", "zoom failed"]), *WITH[1:]]
    assert table(causes_of(lost, WITHOUT).values())["toy"][2] == "1 / 0"
    rows = dict(zip(frame["number"], frame[["toy", "other"]].to_numpy().tolist(), strict=True))
    assert rows["+ call gain"] == ["16.7%", "16.7%"] and rows["blank: audited looks"] == ["3", ""]
    assert rows["blank: right answers that stay right"][0].startswith("50.0% (")
    assert rows["blank: visual evidence gain, nats"][0].startswith("0.667 (")


def test_audit_of_a_sample_is_judged_as_its_answer_is():
    swaps = [Swap("blank", reply="A", evidence=-2.0, outcome=1.0), Swap("repeat", reply="A", error="zoom failed")]
    trajectory = Trajectory([], audit=Audit(0, -1.0, swaps))
    found = judged_audit(trajectory, lambda reply, outcome: {"ours": outcome == 1, "official": reply == "B"})
    assert found == JudgedAudit(-1.0, {"blank": JudgedSwap(-2.0, True, False), "repeat": JudgedSwap(None, None, None)})
    assert judged_audit(Trajectory([]), lambda *_: {}) is None
