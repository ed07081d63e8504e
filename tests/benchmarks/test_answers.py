# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""A run's recorded validation is joined with its questions, judged, summarised, and compared with another run's."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from functools import reduce
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.official_files import rows_of, written
from typer.testing import CliRunner

from verl_mapo.benchmarks import BENCHMARKS
from verl_mapo.benchmarks.answers import (
    LOST,
    QuestionAnswers,
    answers_of_run,
    read_answers,
    result_of,
    write_answers,
)
from verl_mapo.benchmarks.audits import JudgedAudit, JudgedSwap, causes_of
from verl_mapo.benchmarks.comparison import compare_runs, markdown, table
from verl_mapo.benchmarks.official import RULES
from verl_mapo.benchmarks.verdicts import read_verdicts
from verl_mapo.cli import app
from verl_mapo.data import convert
from verl_mapo.evaluation.prepared import facts_in
from verl_mapo.rewards.answers import Undecided
from verl_mapo.rollout.trajectory import EndReason, Trajectory, Turn, TurnStatus
from verl_mapo.run_folder import RunFolder
from verl_mapo.settings import ConfigError
from verl_mapo.tools.coordinates import View

COUNTS = {"vstar": 6, "hrbench_4k": 8}
BOTH = {name: BENCHMARKS.find(name)() for name in COUNTS}

JUDGED = QuestionAnswers(
    "toy", "1", "", "A", ["A", "B"], ["A", "B"], [True, None], [False, True], [True, False], ["", ""], [0.5, None], "g",
    tokens=[3, 4], alignment=[1, None], audit=[JudgedAudit(-1.5, {"blank": JudgedSwap(None, True, None)}), None],
)  # fmt: skip


@pytest.fixture(scope="module")
def questions(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("benchmarks")
    with pytest.MonkeyPatch.context() as patch:
        for name, count in COUNTS.items():
            patch.setattr(BENCHMARKS.find(name), "questions", count)
            convert(BENCHMARKS.find(name)(), written(name, folder / name, count), folder / f"{name}-rows")
    return [folder / f"{name}-rows" / "train.parquet" for name in COUNTS]


def trajectory(reply: str, box: tuple[int, int, int, int] | None = None, **kept) -> Trajectory:
    turns = [Turn((0, 1), reply)]
    if box:
        turns.insert(0, Turn((0, 1), "", TurnStatus.OK, tool="zoom", view=View(0, box, 0, (9, 9))))
    return Trajectory(["p.png"], [(64, 48)], turns, EndReason.ANSWER, **kept)


def validated(run: Path, questions: list[Path], reply, samples: int = 2) -> Path:
    """A run whose last validation answered every question; ``reply`` makes a trajectory of a row and a sample."""
    file = run / "trajectories" / "val" / "3.jsonl"
    file.parent.mkdir(parents=True)
    with file.open("w") as lines:
        for row in (row for one in questions for row in rows_of(one)):
            for session in reversed(range(samples)):
                record = {"data_source": row["data_source"], "index": row["extra_info"]["index"], "session": session}
                lines.write(json.dumps(record | {"trajectory": reply(row, session).to_record()}) + "\n")
    return run


def right(row, session):
    return trajectory(f"Answer: {row['reward_model']['ground_truth']}", (4, 6, 14, 18))


def half(row, session):
    return right(row, session) if session else trajectory("It is E")


def test_answers_are_judged_by_both_rules_and_written(tmp_path, questions):
    run = validated(tmp_path / "run", questions, right)
    assert write_answers(answers_of_run(run, questions, BOTH), tmp_path / "answers.jsonl") == 14
    answers = read_answers(tmp_path / "answers.jsonl")
    assert all(answer.ours == [True, True] and answer.called == [True, True] for answer in answers)
    assert [answer.official[0] for answer in answers[:4]] == [True, False, False, False]  # lmms-eval reads A
    assert answers[0].iou == [1.0, 1.0] and answers[-1].iou == [None, None]
    result = result_of(BOTH["vstar"], answers[:6], facts_in(questions)["vstar"])
    assert (result.ours.value, result.official.value, result.differ) == (1.0, pytest.approx(1 / 3), 8)
    assert result.reported["category/direct_attributes"] == 1.0 and result.iou == 1.0


def test_run_without_tools_has_no_box_iou(tmp_path, questions):
    run = validated(tmp_path / "run", questions, lambda row, session: trajectory("Answer: A"))
    RunFolder(run).config.parent.mkdir(parents=True)
    for tools, shown in (("[]", None), ("[zoom]", 0.0)):
        RunFolder(run).config.write_text(f"visual_tool: {{tools: {tools}}}\n")
        answers = list(answers_of_run(run, questions, BOTH))
        assert result_of(BOTH["vstar"], answers[:6], facts_in(questions)["vstar"]).iou == shown


def test_result_over_samples(tmp_path, questions):
    answers = list(answers_of_run(validated(tmp_path / "run", questions, half), questions, BOTH))
    result = result_of(BOTH["hrbench_4k"], answers[6:], facts_in(questions)["hrbench_4k"])
    assert result.ours.value == 0.5 and result.ours.units == 2 and result.samples == 2
    assert result.pass_at_k == {1: 0.5, 2: 1.0} and result.majority == 1.0 and result.tool_rate == 0.5
    assert answers[6].said == [None, answers[6].truth]


def test_number_that_the_questions_do_not_define_is_not_reported(tmp_path, questions):
    answers = list(answers_of_run(validated(tmp_path / "run", questions, right), questions, BOTH))
    facts = facts_in(questions)["hrbench_4k"]
    single = [answer for answer in answers[6:] if facts[answer.id]["category"] == "single"]
    reported = result_of(BOTH["hrbench_4k"], single, facts).reported
    assert reported["fsp"] == 1.0 and not {"fcp", "mean_fsp_fcp"} & set(reported)


def test_other_questions_under_the_same_numbers_are_refused(tmp_path, questions):
    run = validated(tmp_path / "run", questions, right)
    file = run / "trajectories" / "val" / "3.jsonl"
    first, *lines = map(json.loads, file.read_text().splitlines())
    records = [first | {"ground_truth": "another"}, *lines]
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    with pytest.raises(ConfigError, match="was asked other questions: the right answer of vstar 0 was 'another'"):
        list(answers_of_run(run, questions, BOTH))
    file.write_text(file.read_text().replace("{", "", 1))
    with pytest.raises(ConfigError, match=r"line 1 of .*3\.jsonl is damaged"):
        list(answers_of_run(run, questions, BOTH))


def test_sample_that_an_error_ended_has_no_verdict_and_is_counted(tmp_path, questions):
    def failed(row, session):
        return trajectory("Answer: A", error="zoom: ZeroDivisionError") if session else right(row, session)

    answers = list(answers_of_run(validated(tmp_path / "run", questions, failed), questions, BOTH))
    result = result_of(BOTH["vstar"], answers[:6], facts_in(questions)["vstar"])
    assert result.failed == {"zoom: ZeroDivisionError": 6}
    assert (result.unjudged, result.ours.value) == ((6, 6), 0.5)


def test_reply_on_which_a_rule_comes_to_no_result_is_unjudged(tmp_path, questions, monkeypatch):
    def undecided(reply, target):
        raise Undecided("too slow")

    monkeypatch.setitem(RULES, "vstar", undecided)
    answers = list(answers_of_run(validated(tmp_path / "run", questions, right), questions, BOTH))
    result = result_of(BOTH["vstar"], answers[:6], facts_in(questions)["vstar"])
    assert (result.unjudged, result.failed) == ((0, 12), {})
    assert (result.ours.value, result.official.value) == (1.0, 0.0)


def test_samples_that_are_lost_are_counted_by_the_reason_and_are_not_right(tmp_path, questions):
    run = validated(tmp_path / "run", questions, lambda row, session: right(row, session))
    file = run / "trajectories" / "val" / "3.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[2:-1]))  # both of vstar 0, one of the last
    reason = {"data_source": "vstar", "index": 0, "session": 1, "reason": "no reply within 3 s"}
    (run / "failures.jsonl").write_text(json.dumps(reason) + "\n")
    answers = list(answers_of_run(run, questions, BOTH, samples=2))
    assert answers[0].error == [LOST, "no reply within 3 s"] and answers[0].ours == [None, None]
    assert answers[-1].error == [LOST, ""] and answers[-1].replies[0] == ""
    result = result_of(BOTH["vstar"], answers[:6], facts_in(questions)["vstar"])
    assert result.failed == {LOST: 1, "no reply within 3 s": 1} and result.ours.value == pytest.approx(5 / 6)
    assert (result.turns, result.tokens, result.seconds) == (pytest.approx(20 / 12), pytest.approx(20 / 12), None)


def test_a_judge_of_the_run_decides_what_no_rule_can(tmp_path, questions):
    rows = [*rows_of(questions[0])][:2]
    for row in rows:
        row["reward_model"] = {"style": "judge", "ground_truth": "on the left", "options": None}
    file = tmp_path / "judged.parquet"
    pq.write_table(pa.Table.from_pylist(rows), file)
    run = validated(tmp_path / "run", [file], lambda row, session: trajectory("left of it"), samples=1)
    records = run / "trajectories" / "val" / "3.jsonl"
    lines = [
        json.loads(line) | {"outcome": float(place)} for place, line in enumerate(records.read_text().splitlines())
    ]
    records.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert [answer.ours for answer in answers_of_run(run, [file], BOTH)] == [[None], [None]]
    config = {"reward": {"description_alignment": {"judge": {"url": "http://h/v1", "model": "m"}}}}
    RunFolder(run).config.parent.mkdir(parents=True)
    RunFolder(run).config.write_text(json.dumps(config))
    assert [answer.ours for answer in answers_of_run(run, [file], BOTH)] == [[False], [True]]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda run, lines: lines[2:], "no rollout of 1 of 14 questions, of which vstar 0 is the first"),
        (lambda run, lines: lines[1:], "from 1 to 2 rollouts for a question"),
        (None, "has no recorded validation"),
    ],
)
def test_run_that_did_not_answer_everything_is_an_error(tmp_path, questions, spoil, message):
    run = validated(tmp_path / "run", questions, right)
    file = run / "trajectories" / "val" / "3.jsonl"
    if spoil is None:
        file.unlink()
    else:
        file.write_text("".join(spoil(run, file.read_text().splitlines(keepends=True))))
    with pytest.raises(ConfigError, match=message):
        list(answers_of_run(run, questions, BOTH))


def test_answers_are_read_as_they_were_written(tmp_path):
    assert write_answers([JUDGED, replace(JUDGED, id="2", audit=[None, None])], tmp_path / "answers.jsonl") == 2
    assert read_answers(tmp_path / "answers.jsonl") == [JUDGED, replace(JUDGED, id="2", audit=[None, None])]
    older = {key: value for key, value in asdict(JUDGED).items() if key not in ("tokens", "alignment", "audit")}
    (tmp_path / "older.jsonl").write_text(json.dumps(older) + "\n")
    assert read_answers(tmp_path / "older.jsonl") == [replace(JUDGED, tokens=[], alignment=[], audit=[])]


@pytest.mark.parametrize(
    ("place", "value", "clause"),
    [
        (("ours",), "yes", "ours='yes' is refused, it should be a valid array"),
        (("ours",), None, "ours=None is refused"),
        (("ours", 0), "true", "ours.0='true' is refused, it should be a valid boolean"),
        (("ours", 1), 1, "ours.1=1 is refused"),
        (("official", 0), float("nan"), "official.0=nan is refused"),
        (("iou", 0), float("nan"), "iou.0=nan is refused, it should be a finite number"),
        (("audit", 0, "evidence"), float("-inf"), "audit.0.evidence=-inf is refused, it should be a finite number"),
        (("audit", 0, "swaps", "blank", "evidence"), True, "audit.0.swaps.blank.evidence=True is refused"),
        (("audit", 0), {"evidence": None}, "it has no audit.0.swaps"),
        (("audit", 0, "swaps", "blank"), {"evidence": None, "ours": True}, "it has no audit.0.swaps.blank.official"),
        (("called",), [True], "called has 1 values for 2 samples"),
        (("audit",), [None], "audit has 1 values for 2 samples"),
        (("replies",), [], "replies has no sample"),
        (("group",), 3, "group=3 is refused, it should be a valid string"),
        (("grade",), 3, "grade=3 is refused, unexpected keyword argument"),
    ],
)  # fmt: skip
def test_line_of_another_form_is_an_error_with_its_key(tmp_path, place, value, clause):
    line = asdict(replace(JUDGED, id="2"))
    *way, last = place
    reduce(lambda part, key: part[key], way, line)[last] = value
    (tmp_path / "a.jsonl").write_text(f"{json.dumps(asdict(JUDGED))}\n{json.dumps(line)}\n")
    sentence = rf"^line 2 of .*a.jsonl is no judged question, because {re.escape(clause)}.*: score the run again"
    with pytest.raises(ConfigError, match=sentence):
        read_answers(tmp_path / "a.jsonl")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"id": "1"}\n', "line 1 of .* is no judged question, because it has no benchmark: score the run again"),
        (b'{"id": "\xff"}\n', "line 1 of .* because invalid JSON: .*: score the run again"),
        (b"[]\n", "line 1 of .* because .*: score the run again"),
        (json.dumps(asdict(JUDGED)).encode() * 2, "line 1 of .* because invalid JSON: .*: score the run again"),
        (
            (json.dumps(asdict(JUDGED)).encode() + b"\n") * 2,
            "line 2 of .* because toy 1 is in an earlier line, too: score the run again",
        ),
        (b"", "holds no judged questions: score the run again"),
        (None, "is no file: give the answers.jsonl"),
    ],
)
def test_file_that_holds_something_else_is_an_error(tmp_path, content, message):
    if content is not None:
        (tmp_path / "other.jsonl").write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        read_answers(tmp_path / "other.jsonl")


def test_runs_are_compared_with_the_first_one(tmp_path, questions):
    runs = {}
    for name, reply in (("base", half), ("trained", right)):
        answers = answers_of_run(validated(tmp_path / name, questions, reply, 1), questions, BOTH)
        write_answers(answers, tmp_path / f"{name}.jsonl")
        runs[name] = read_verdicts(tmp_path / f"{name}.jsonl")
    lines = compare_runs(runs)
    assert [(line.benchmark, line.run) for line in lines] == [
        ("vstar", "base"), ("vstar", "trained"), ("hrbench_4k", "base"), ("hrbench_4k", "trained"),
    ]  # fmt: skip
    assert lines[0].comparison is None and lines[1].comparison.better == 6
    assert lines[1].comparison.mcnemar == pytest.approx(2 / 2**6) and lines[3].comparison.mcnemar is None
    assert lines[3].accuracy.units == 2
    found = table(lines)
    assert found["difference"].tolist() == ["", "+100.0", "", "+100.0"]
    assert found["questions"].tolist() == [6, 6, 8, 8]
    assert markdown(found).splitlines()[1] == "|" + " --- |" * len(found.columns)


def test_one_right_answer_of_six_in_groups_of_four_and_two_is_a_sixth():
    index = pd.MultiIndex.from_product([["hrbench_4k"], list("abcdef")], names=["benchmark", "id"])
    runs = {
        name: pd.DataFrame({"group": list("000011"), "truth": "A", "right": [share, 0, 0, 0, 0, 0]}, index)
        for name, share in (("base", 0.0), ("trained", 1.0))
    }
    found = table(compare_runs(runs)).to_dict("records")[1]
    assert (found["questions"], found["accuracy"], found["difference"]) == (6, "16.7", "+16.7")


def test_runs_that_answered_different_questions_are_not_compared(tmp_path, questions):
    answers = list(answers_of_run(validated(tmp_path / "run", questions, right), questions, BOTH))
    write_answers(answers, tmp_path / "all.jsonl")
    write_answers(answers[1:], tmp_path / "fewer.jsonl")
    write_answers([replace(answers[0], truth="another"), *answers[1:]], tmp_path / "shuffled.jsonl")
    for other, fault in (
        ("fewer", "1 only in the first, 0 only in the second"),
        ("shuffled", f"1 of {len(answers)} have another right answer in the second"),
    ):
        with pytest.raises(ConfigError, match=f"answered different questions: {fault}, such as {answers[0].benchmark}"):
            compare_runs({name: read_verdicts(tmp_path / f"{name}.jsonl") for name in ("all", other)})


def test_difference_that_tools_make_is_split_into_four_terms(tmp_path, questions):
    def direct(row, session):
        return trajectory(f"Answer: {row['reward_model']['ground_truth'] if session else 'E'}")

    def looked(row, session):
        return trajectory("Answer: E") if session and row["extra_info"]["index"] == 0 else right(row, session)

    runs = [
        list(answers_of_run(validated(tmp_path / str(place), questions, reply), questions, BOTH))
        for place, reply in enumerate((looked, direct))
    ]
    found = causes_of(*runs)["vstar"].effects
    assert (found.call_gain, found.schema_gain, found.call_harm) == (0.5, 0.0, 0.0)
    assert found.schema_harm == pytest.approx(1 / 12) and found.total == pytest.approx(5 / 12)
    fewer = [replace(answer, ours=answer.ours[:1]) for answer in runs[1]]
    with pytest.raises(ConfigError, match="2 answers with tools and 1 without"):
        causes_of(runs[0], fewer)


def test_commands_score_and_compare(tmp_path, questions):
    data = [argument for file in questions for argument in ("--data", str(file))]
    for name, reply in (("base", half), ("trained", right)):
        run = validated(tmp_path / name, questions, reply)
        done = CliRunner().invoke(app, ["bench", "score", str(run), *data])
        assert done.exit_code == 0, done.output
        assert "Pass@2" in done.stdout and "fsp" in done.stdout and "answers on which the rules differ" in done.stdout
    runs = [str(tmp_path / name) for name in ("base", "trained")]
    done = CliRunner().invoke(app, ["bench", "compare", *runs, "--out", str(tmp_path / "compared")])
    assert done.exit_code == 0, done.output
    assert "| vstar | trained | 6 | 100.0 |" in done.stdout
    assert len(pd.read_csv(tmp_path / "compared" / "comparison.csv")) == 4
    assert r"hrbench\_4k" in (tmp_path / "compared" / "comparison.tex").read_text()
    assert (tmp_path / "compared" / "comparison.png").stat().st_size > 5000
    split = CliRunner().invoke(app, ["bench", "causes", *reversed(runs)], env={"COLUMNS": "200"})
    assert split.exit_code == 0 and "call gain" in split.stdout and "50.0%" in split.stdout
    alone = CliRunner().invoke(app, ["bench", "compare", runs[0], runs[0], "--out", str(tmp_path / "x")])
    assert alone.exit_code == 2 and "two or more different runs" in " ".join(alone.output.replace("│", " ").split())
