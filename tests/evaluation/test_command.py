# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""``verl-mapo bench run`` against a model on a server: passes, tables, failures, and how it goes on."""

from __future__ import annotations

import json
import re

import pytest
from support.chat_server import ChatServer
from support.official_files import written
from support.rewards import served
from support.scripted import call
from typer.testing import CliRunner

from verl_mapo.benchmarks import BENCHMARKS
from verl_mapo.benchmarks.answers import read_answers
from verl_mapo.cli import app
from verl_mapo.evaluation.command import planned
from verl_mapo.evaluation.passes import PassSettings

QUESTIONS = 4


def bench(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["bench", *map(str, arguments)], env={"COLUMNS": "200"})
    return done.exit_code, " ".join(re.sub("[│\n]", " ", done.output).split())


@pytest.fixture
def prepared(tmp_path, monkeypatch, request):
    questions = getattr(request, "param", QUESTIONS)
    monkeypatch.setattr(BENCHMARKS.find("vstar"), "questions", questions)
    return written("vstar", tmp_path / "source", questions)


@pytest.fixture
def server():
    """A model that looks once where it has tools, and then answers A; without tools it answers B."""

    def script(question: str, before: int) -> str:
        looks = any("# Tools" in str(message["content"]) for message in chat.seen[-1]["messages"])
        return call((1, 1, 30, 30)) if looks and not before else f"Answer: {'A' if looks else 'B'}"

    chat = ChatServer(script)
    with served(chat) as chat.url:
        yield chat


@pytest.mark.parametrize("option", ["--temprature", "--temprature=1"])
def test_an_option_that_the_command_does_not_have_is_no_benchmark(tmp_path, option):
    code, output = bench("run", "vstar", "--out", tmp_path, option)
    assert code == 2 and f"{option} is no option of this command" in output


def test_a_run_counts_what_is_lost_and_goes_on_with_it(tmp_path, prepared, server, tiny_models):
    asked = ["run", "vstar", "--source", prepared, "--folder", tmp_path / "benchmarks", "--out", tmp_path / "out"]
    asked += ["--model", tiny_models["qwen2_5_vl"].folder, "--server", server.url, "--server-model", "teacher"]
    asked += ["--k", 2, "--concurrency", 1, "--retries", 0]
    server.faults = [500]
    code, output = bench(*asked)
    assert code == 0 and "1 rollouts got no reply: InternalServerError" in output
    assert "no answer: InternalServerError" in (tmp_path / "out" / "summary.md").read_text()
    assert "lmms-eval's rule reads" in output
    assert len(server.seen) == QUESTIONS * 2 + QUESTIONS * 2 * 2
    answers = read_answers(tmp_path / "out" / "direct" / "answers.jsonl")
    assert len(answers) == QUESTIONS and answers[0].ours == [None, answers[0].truth == "B"]
    looked = read_answers(tmp_path / "out" / "tools" / "answers.jsonl")
    assert all(answer.called == [True, True] and answer.turns == [2, 2] for answer in looked)
    assert min(answer.tokens[0] for answer in looked) > 5 and looked[0].seconds[0] > 0
    code, output = bench(*asked)
    assert code == 0 and "no answer:" not in (tmp_path / "out" / "summary.md").read_text()
    assert len(server.seen) == QUESTIONS * 6 + 1
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert [one["pass"] for one in summary["results"]] == ["direct", "tools"]
    assert summary["passes"]["direct"]["settings"]["visual_tool.tools"] == []
    assert summary["passes"]["direct"]["judge"] is None and summary["versions"]["verl"]
    assert answers[0].iou == [None, None] and None not in looked[0].iou, "without tools there is no look"
    shares = {answer.truth for answer in answers}
    assert shares >= {"A", "B"} and 0 < summary["results"][0]["ours"]["value"] < 1
    text = (tmp_path / "out" / "summary.md").read_text()
    assert "| vstar | tools | 4 | 2 |" in text and "| Pass@2 |" in text
    code, output = bench(*asked, "--temperature", 0.5)
    assert code == 2 and "holds rollouts with server.temperature=1.0, and those with 0.5 are asked for" in output
    passes = [tmp_path / "out" / name for name in ("direct", "tools")]
    code, output = bench("compare", *passes, "--out", tmp_path / "compared")
    assert code == 0 and "| vstar | tools |" in output
    assert bench("causes", *reversed(passes))[0] == 0


@pytest.mark.parametrize("prepared", [5], indirect=True)
def test_a_scorer_that_takes_the_first_letter_of_a_reply_gives_another_table(
    tmp_path, prepared, server, tiny_models, monkeypatch
):
    asked = ["run", "vstar", "--source", prepared, "--folder", tmp_path / "benchmarks", "--out", tmp_path / "out"]
    asked += ["--model", tiny_models["qwen2_5_vl"].folder, "--server", server.url, "--server-model", "teacher"]
    asked += ["--protocol", "direct"]

    def table() -> tuple[float, str]:
        code, output = bench(*asked)
        assert code == 0, output
        found = json.loads((tmp_path / "out" / "summary.json").read_text())["results"]
        return found[0]["ours"]["value"], (tmp_path / "out" / "summary.md").read_text()

    accuracy, text = table()
    monkeypatch.setattr("verl_mapo.benchmarks.scoring.extract", lambda reply: reply.strip()[:1])
    planted, planted_text = table()
    truths = [answer.truth for answer in read_answers(tmp_path / "out" / "direct" / "answers.jsonl")]
    assert accuracy == truths.count("B") / 5 and planted == truths.count("A") / 5
    assert accuracy != planted and text != planted_text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "No benchmark is given"),
        (["vstars"], "vstars is no folder of 'verl-mapo bench prepare', and there is no benchmark 'vstars': did you"),
        (["vstar"], "vstar is not prepared in benchmarks: run 'verl-mapo bench prepare vstar"),
        (["--suite", "mapos"], "--suite mapos is refused: the suites are axpo, mapo, vgpo"),
        (["vstar", "--server", "http://h/v1"], "--server and --server-model belong together"),
        (["vstar", "--k", "0"], "--k=0 is refused: it should be greater than 0"),
        (["vstar", "--top-p", "2"], "--top-p=2.0 is refused: it should be less than or equal to 1"),
        (["toy"], "run 'verl-mapo bench prepare toy --source FOLDER --out benchmarks/toy' first, with the folder of"),
        (["vstar", "--run", "nowhere"], "--run nowhere has no checkpoint"),
    ],
)
def test_mistakes_are_refused_in_words(tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    code, output = bench("run", *arguments, "--out", "out")
    assert code == 2 and words in output, output
    assert not any(tmp_path.iterdir()), "nothing is written"


def test_file_that_is_not_prepared_is_refused(tmp_path):
    (tmp_path / "rows.parquet").write_text("no parquet")
    code, output = bench("run", tmp_path / "rows.parquet", "--out", tmp_path / "out")
    assert code == 2 and f"NAME {tmp_path / 'rows.parquet'} cannot be read as parquet" in output, output


def test_passes_are_named_by_protocol_and_greedy_ones_are_added_to_drawn_ones():
    settings = PassSettings(k=8)
    assert list(planned(settings, ["direct", "tools"], greedy=False)) == ["direct", "tools"]
    greedy = planned(settings, ["tools"], greedy=True)["tools_greedy"]
    assert (greedy.k, greedy.heat, greedy.protocol) == (1, 0.0, "tools")
    assert list(planned(PassSettings(), ["tools"], greedy=True)) == ["tools"], "it is greedy already"
