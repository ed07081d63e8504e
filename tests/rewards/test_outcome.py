# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The outcome of a row: the answer check, the judge, the custom reward function, and the styles of the data."""

import asyncio
import math
import re
import threading

import numpy as np
import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from support.rewards import answer_turn, row_of, same_length, visual_turn
from support.scripted import compose_config
from transformers import AutoTokenizer

from verl_mapo.rewards import outcome as outcome_module
from verl_mapo.rewards.answers import Undecided
from verl_mapo.rewards.outcome import AnswerOutcome, CustomOutcome, OutcomeError, check_targets
from verl_mapo.rewards.settings import DescriptionAlignmentSettings
from verl_mapo.settings import ConfigError, parse_node

JUDGE = {"url": "http://127.0.0.1:9/v1", "model": "j", "retries": 0}


def answer_outcome(**node) -> AnswerOutcome:
    node = {"scorer": {"model": "a/b"}, **node}
    return AnswerOutcome(parse_node(DescriptionAlignmentSettings, node, "reward.description_alignment"))


def evaluate(outcome, text: str, **fields) -> tuple[float, dict]:
    row = row_of([answer_turn(text)], **fields)[-1]
    return asyncio.run(outcome(row, row.non_tensor_batch["tool_extra_fields"]["trajectory"]))


@pytest.mark.parametrize(
    ("reward_model", "text", "reward"),
    [
        ({"style": "exact", "ground_truth": "red"}, "RED.", 1.0),
        ({"style": "exact", "ground_truth": ["crimson", "red"]}, "red", 1.0),
        ({"style": "exact", "ground_truth": "red"}, "", 0.0),
        ({"style": "multiple_choice", "ground_truth": "C"}, "Answer: C", 1.0),
        ({"style": "multiple_choice", "ground_truth": "B", "options": ["cat", "dog"]}, "<answer>dog</answer>", 1.0),
        ({"style": "numeric", "ground_truth": 12}, "about 12 cm", 1.0),
        ({"style": "math", "ground_truth": "0.5"}, r"\boxed{\frac{1}{2}}", 1.0),
        ({"style": "math", "ground_truth": ["7", "0.5"]}, r"\boxed{\frac{1}{2}}", 1.0),
        ({"style": "math", "ground_truth": "0.5"}, r"\boxed{\frac{1}{3}}", 0.0),
        ({"style": "support.rewards.same_length", "ground_truth": "blue"}, "pink", 1.0),
        ({"style": "support.rewards.same_length", "ground_truth": "red"}, "pink", 0.0),
    ],
)
def test_style_of_the_row_names_the_answer_check(reward_model, text, reward):
    assert evaluate(answer_outcome(), text, reward_model=reward_model) == (
        reward,
        {"acc": reward, "rule": reward, "undecided": 0.0},
    )


def test_outcome_setting_overrides_the_style_of_the_row():
    row = {"reward_model": {"style": "exact", "ground_truth": "12"}}
    assert evaluate(answer_outcome(), "12.0", **row)[0] == 0.0
    assert evaluate(answer_outcome(outcome="numeric"), "12.0", **row)[0] == 1.0
    assert evaluate(answer_outcome(outcome="support.rewards.same_length"), "99", **row)[0] == 1.0


@pytest.mark.parametrize("style", ["rule", None, "no.such.check"])
def test_row_whose_style_names_no_check_is_refused(style):
    target = {"ground_truth": "red"} | ({} if style is None else {"style": style})
    with pytest.raises(ConfigError, match=r"or set reward\.description_alignment\.outcome=exact"):
        evaluate(answer_outcome(), "red", reward_model=target)
    assert evaluate(answer_outcome(outcome="exact"), "red", reward_model=target)[0] == 1.0


def test_check_from_outside_gets_options_and_tolerance_and_runs_in_a_thread(monkeypatch):
    calls = []

    def check(answer, truth, **keywords):
        calls.append((answer, truth, keywords, threading.current_thread() is threading.main_thread()))
        return same_length(answer, truth)

    monkeypatch.setattr(outcome_module, "find_check", lambda name: check)
    target = {"style": "my.check", "ground_truth": "red", "options": ["red", "tan"]}
    assert evaluate(answer_outcome(tolerance=0.1), "tan", reward_model=target)[0] == 1.0
    assert calls == [("tan", "red", {"options": ["red", "tan"], "tolerance": 0.1}, False)]


def test_comparison_without_a_result_is_counted_and_hides_no_right_one(monkeypatch):
    def check(answer, truth, **_):
        if truth == "tower":
            raise Undecided("too slow")
        return answer == truth

    monkeypatch.setattr(outcome_module, "find_check", lambda name: check)
    outcome = answer_outcome()
    for truths, acc, undecided in ((["tower", "red"], 1.0, 0.0), (["tower", "blue"], 0.0, 1.0), (["blue"], 0.0, 0.0)):
        target = {"style": "my.check", "ground_truth": truths}
        _, terms = evaluate(outcome, "red", reward_model=target)
        assert terms == {"acc": acc, "rule": acc, "undecided": undecided}


def test_failed_judge_leaves_right_answers_alone_and_rejected_ones_without_an_outcome():
    outcome = answer_outcome(judge=JUDGE)
    assert evaluate(outcome, "red") == (1.0, {"acc": 1.0, "rule": 1.0, "undecided": 0.0, "judge": None})
    assert evaluate(outcome, "")[0] == 0.0, "nothing to judge"
    with pytest.raises(OutcomeError, match="The judge at http.* gave no verdict: APIConnectionError"):
        evaluate(outcome, "crimson")


def test_judge_decides_on_answers_that_the_check_rejects():
    outcome = answer_outcome(judge=JUDGE)
    asked = []

    async def verdict(question: str, answer: str, truths: list[str]) -> bool:
        asked.append((question, answer, truths))
        return True

    outcome.judge.verdict = verdict
    assert evaluate(outcome, "crimson") == (
        1.0,
        {"acc": 1.0, "rule": 0.0, "undecided": 0.0, "judge": 1.0},
    )
    assert evaluate(outcome, "red")[0] == 1.0 and evaluate(outcome, "")[0] == 0.0
    assert asked == [("?", "crimson", ["red"])]


def custom(data_source, solution_str, ground_truth, extra_info):
    assert extra_info["trajectory"].visual_turns
    assert (extra_info["index"], extra_info["num_turns"]) == (3, 2)
    return {"score": 0.7, "said": solution_str, "source": data_source, "truth": ground_truth}


async def async_custom(**arguments):
    return custom(**arguments)


@pytest.mark.parametrize("function", [custom, async_custom])
def test_custom_function_gets_verls_arguments_and_its_values_are_terms(clip_folder, function):
    tokenizer = AutoTokenizer.from_pretrained(clip_folder)
    row = row_of([visual_turn("label"), answer_turn("nothing")], response=tokenizer("blue").input_ids)[-1]
    trajectory = row.non_tensor_batch["tool_extra_fields"]["trajectory"]
    reward, terms = asyncio.run(CustomOutcome(function, tokenizer, {})(row, trajectory))
    assert reward == terms["acc"] == terms["score"] == 0.7
    assert terms["said"].replace(" ", "") == "blue" and (terms["source"], terms["truth"]) == ("colours", "red")


@pytest.mark.parametrize(
    "result",
    [
        math.nan,
        math.inf,
        None,
        "0.5",
        {},
        {"acc": 1.0},
        {"score": None},
        {"score": math.nan},
        {"score": "1"},
        [1.0, 2.0],
    ],
)
def test_custom_function_without_a_score_is_an_error_and_not_a_zero(clip_folder, result):
    tokenizer = AutoTokenizer.from_pretrained(clip_folder)
    row = row_of([answer_turn("red")], response=tokenizer("red").input_ids)[-1]
    outcome = CustomOutcome(lambda **_: result, tokenizer, {})
    with pytest.raises(RuntimeError) as error:
        asyncio.run(outcome(row, row.non_tensor_batch["tool_extra_fields"]["trajectory"]))
    expected = f"The function of reward.custom_reward_function.path returned {result!r}; it must return a finite number"
    assert str(error.value).startswith(expected)


@pytest.mark.parametrize("result", [1, True, np.float32(0.5), torch.tensor(0.5), {"score": 0}, {"score": np.int64(1)}])
def test_custom_function_may_return_any_number(clip_folder, result):
    tokenizer = AutoTokenizer.from_pretrained(clip_folder)
    row = row_of([answer_turn("red")], response=tokenizer("red").input_ids)[-1]
    outcome = CustomOutcome(lambda **_: result, tokenizer, {})
    reward, terms = asyncio.run(outcome(row, row.non_tensor_batch["tool_extra_fields"]["trajectory"]))
    assert type(reward) is float and reward == terms["acc"]
    assert reward == (result["score"] if isinstance(result, dict) else float(result))


def config_of(manager="description_alignment", custom=None, **alignment) -> DictConfig:
    node = {"scorer": {"model": "a/b"}, **alignment}
    reward = {"reward_manager": {"name": manager}, "custom_reward_function": {"path": custom}}
    return OmegaConf.create({"reward": {**reward, "description_alignment": node}})


def targets_of(styles) -> list[dict]:
    return [{"style": style, "ground_truth": "red"} for style in styles]


def test_known_styles_pass_the_check_of_the_data():
    targets = targets_of(["exact", "multiple_choice", "math", "support.rewards.same_length"])
    targets += [
        {"style": "numeric", "ground_truth": [12, "12 cm", "9:30"]},
        {"style": "multiple_choice", "ground_truth": "A, C", "options": ["cat", "cow", "dog"]},
        {"style": "multiple_choice", "ground_truth": "dog", "options": {"A": "cat", "B": "dog"}},
    ]
    assert check_targets(config_of(), targets) is None


def test_check_of_the_data_names_every_unknown_style():
    with pytest.raises(ConfigError) as error:
        check_targets(config_of(), targets_of(["rule", "exact", None, "rule", "no.such.check", 3]))
    assert str(error.value).startswith(
        "In the data, reward_model.style is 'rule' or missing or 'no.such.check' or 3, which names no answer check. "
        "Use exact, multiple_choice, numeric, yes_no, judge, math or the dotted path of your own in every row, or set "
        "reward.description_alignment.outcome=exact to compare all rows in the same way. "
        "The dotted path 'no.such.check' leads to no answer check"
    )


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ({"style": "exact"}, "In the data, in reward_model of row 1, the ground truth None is no answer"),
        ({"style": "exact", "ground_truth": {"x": "red"}}, "has its answer under no key"),
        ({"style": "exact", "ground_truth": "A", "options": "A. cat"}, "the options 'A. cat' are no list"),
        (None, "reward_model.style is missing"),
        ("red", "In the data, reward_model of row 1 is 'red', no mapping: use one such as"),
        ({"style": "math", "ground_truth": ""}, "in reward_model of row 1, the ground truth '' is no answer"),
        ({"style": "exact", "ground_truth": [""]}, "in reward_model of row 1, the ground truth '' is no answer"),
        ({"style": "exact", "ground_truth": "..."}, "no answer can equal the ground truth '...' under the style exact"),
        ({"style": "numeric", "ground_truth": "red"}, "'red' under the style numeric: use one number, such as 12"),
        (
            {"style": "multiple_choice", "ground_truth": "E", "options": ["cat", "dog"]},
            "row 1, no answer can equal the ground truth 'E' under the style multiple_choice and the options "
            ".'cat', 'dog'.: use the letter or the text of one option, such as C",
        ),
        (
            {"style": "multiple_choice", "ground_truth": ["A", "cow"], "options": ["cat", "dog"]},
            "the ground truth 'cow'",
        ),
        ({"style": "multiple_choice", "ground_truth": "A", "options": {"B": "cat"}}, "have the keys 'B': use A, B"),
    ],
)
def test_row_that_cannot_be_judged_stops_the_run_at_its_start(target, message):
    with pytest.raises(ConfigError, match=message):
        check_targets(config_of(), [{"style": "exact", "ground_truth": "red"}, target])


def test_ground_truth_in_a_mapping_is_compared_and_its_key_is_not():
    row = {"reward_model": {"style": "exact", "ground_truth": {"target": ["red", "scarlet"]}}}
    assert evaluate(answer_outcome(), "scarlet", **row)[0] == 1.0
    assert evaluate(answer_outcome(), "target", **row)[0] == 0.0


@pytest.mark.parametrize("changes", [{"manager": "naive"}, {"custom": "reward.py"}, {"outcome": "exact"}])
def test_styles_that_are_not_used_are_not_checked(changes):
    assert check_targets(config_of(**changes), targets_of(["rule", None])) is None


ERRORS = [ZeroDivisionError("x"), KeyError("x"), StopIteration("x"), SystemExit("x"), MemoryError("x")]
"""Among them one that a thread never reports to an event loop, and one that ends the loop."""


def answer_with(result):
    """A function with any arguments that raises or returns ``result``."""

    def function(*_, **__):
        if isinstance(result, BaseException):
            raise result
        return result

    return function


@pytest.mark.parametrize("result", ["no", None, 1, 0.0, *ERRORS], ids=repr)
def test_error_in_an_answer_check_is_raised_with_its_name(monkeypatch, result):
    monkeypatch.setattr("support.rewards.same_length", answer_with(result))
    row = {"reward_model": {"style": "support.rewards.same_length", "ground_truth": "blue"}}
    raised = isinstance(result, BaseException)
    message = f"raised {type(result).__name__}: '?x" if raised else f"returned {result!r}; it must return True or False"
    with pytest.raises(OutcomeError, match=f"The answer check support.rewards.same_length {message}"):
        evaluate(answer_outcome(), "pink", **row)


@pytest.mark.parametrize("error", ERRORS, ids=repr)
@pytest.mark.parametrize("is_async", [False, True])
def test_error_in_a_reward_function_is_raised_with_its_setting(clip_folder, is_async, error):
    function = answer_with(error)

    async def awaited(**arguments):
        return function(**arguments)

    outcome = CustomOutcome(awaited if is_async else function, AutoTokenizer.from_pretrained(clip_folder), {})
    with pytest.raises(OutcomeError, match=r"The function of reward\.custom_reward_function\.path raised "):
        evaluate(outcome, "pink", response=[1, 2])


def test_rows_that_need_a_judge_are_refused_without_one_with_the_three_ways_out():
    targets = targets_of(["exact", "judge", "judge"])
    with pytest.raises(ConfigError) as error:
        check_targets(config_of(), targets)
    message = str(error.value)
    assert "2 rows have reward_model.style=judge (the first is row 1, counted from 0)" in message
    for way in ("reward.custom_reward_function.path", "--without-judged"):
        assert way in message
    (override,) = re.findall(r"'(reward[^']*judge=[^']*)'", message)
    judge = compose_config("method=mapo", override).reward.description_alignment.judge
    assert judge == {"url": "http://HOST:8000/v1", "model": "NAME"}, "hydra takes the override as it is printed"
    assert check_targets(config_of(judge=JUDGE), targets) is None
    assert check_targets(config_of(outcome="exact"), targets) is None, "the user compares them in another way"
    with pytest.raises(ConfigError, match="outcome=judge needs a judge, and none is .*set .*outcome=exact"):
        check_targets(config_of(outcome="judge"), targets)
    with pytest.raises(ConfigError, match=r"1 row has reward_model.style=judge \(row 1, counted from 0\): no rule"):
        check_targets(config_of(), targets_of(["exact", "judge"]))


def test_row_that_needs_a_judge_is_judged_unless_the_texts_are_equal():
    outcome, asked = answer_outcome(judge=JUDGE), []

    async def verdict(question, answer, truths):
        asked.append(answer)
        return True

    outcome.judge.verdict = verdict
    row = {"reward_model": {"style": "judge", "ground_truth": "The dog is to the left of the bottle."}}
    assert evaluate(outcome, "left", **row)[1] == {"acc": 1.0, "rule": 0.0, "undecided": 0.0, "judge": 1.0}
    assert evaluate(outcome, "The dog is to the left of the bottle", **row)[1]["judge"] is None
    assert asked == ["left"]
