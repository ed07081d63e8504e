# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The calls and descriptions that are read from the text of a turn."""

from __future__ import annotations

import json
import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verl_mapo.rollout.parser import BadCall, ToolCall, read_calls, read_descriptions
from verl_mapo.rollout.statuses import TurnStatus

ARGUMENTS = {"label": "a", "bbox_2d": [1, 2, 3, 4]}
GOOD = json.dumps({"name": "zoom", "arguments": ARGUMENTS})
CALL = f"<tool_call>\n{GOOD}\n</tool_call>"


def read(text, **options):
    """Each call as (name, arguments, lenient), or its status."""
    calls = read_calls(text, **options)
    return [c.status if isinstance(c, BadCall) else (c.name, c.arguments, c.lenient) for c in calls]


@pytest.mark.parametrize("lenient", [False, True])
def test_call_is_read_with_its_place(lenient):
    text = f"<think>look</think>\n{CALL} and more"
    (call,) = read_calls(text, lenient=lenient)
    assert (call.name, call.arguments, call.lenient) == ("zoom", ARGUMENTS, False)
    assert text[slice(*call.place)] == CALL


@pytest.mark.parametrize("text", ["", "<answer>4</answer>", "tool_call", "</tool_call>", '{"name": "zoom"}', GOOD[:-2]])
def test_text_without_a_call(text):
    assert read_calls(text) == read_calls(text, lenient=False) == []


@pytest.mark.parametrize("thinking", [False, True])
@pytest.mark.parametrize("lenient", [False, True])
def test_calls_are_read_after_thinking(thinking, lenient):
    """The template of a thinking model opens the thought, so that only its end is in the text."""
    think = "" if thinking else "<think>"
    options = {"thinking": thinking, "lenient": lenient}
    assert read(f"{think}Maybe {CALL}?</think>\nThe answer is B.", **options) == []
    assert read(f"{think}I use <tool_call> here.</think>{CALL}", **options) == [("zoom", ARGUMENTS, False)]
    assert read(f"{think}{CALL}</think>{CALL}<think>{CALL}</think>", **options) == [("zoom", ARGUMENTS, False)]
    assert read(f"{think}Maybe {CALL}? No.", **options) == []
    assert read(f"{think}hm</think>{CALL}</think>", **options) == [("zoom", ARGUMENTS, False)]
    assert read(f"{think}Maybe <think>hm</think>{CALL}?</think>No.", **options) == []
    assert read(f"{think}The tag <think> opens.</think>{CALL}", **options) == [("zoom", ARGUMENTS, False)]


def test_call_that_ends_an_unfinished_thought_is_a_lenient_call():
    assert read(f"<think>I see. {CALL}") == read(f"I see. {CALL}", thinking=True) == [("zoom", ARGUMENTS, True)]
    assert read(f"<think>I see. {CALL}", lenient=False) == []


def test_label_may_hold_tags():
    arguments = {"label": "</tool_call><tool_call><think>", "bbox_2d": [1, 2, 3, 4]}
    text = f"<tool_call>{json.dumps({'name': 'zoom', 'arguments': arguments})}</tool_call>"
    assert read(text, lenient=False) == [("zoom", arguments, False)]


def test_tags_of_thoughts_in_labels_hide_no_call():
    labels = ["word </think>", "<think> word", "a </think> b <think>"]
    texts = [
        f"<tool_call>{json.dumps({'name': 'zoom', 'arguments': {'label': label}})}</tool_call>" for label in labels
    ]
    found = read("<think>hm</think>" + "\n".join(texts), lenient=False)
    assert found == [("zoom", {"label": label}, False) for label in labels]


def test_every_call_without_an_opening_tag_is_read():
    second = GOOD.replace("[1", "[0")
    assert [call[1]["bbox_2d"][0] for call in read(f"Look.\n{GOOD}\n{second}")] == [1, 0]
    assert [call[1]["bbox_2d"][0] for call in read(f"<think>Look. {CALL}\n<tool_call>{second}</tool_call>")] == [1, 0]


def test_json_answer_is_no_call_of_a_tool_that_the_run_lacks():
    answer = '{"name": "Alice", "arguments": {"age": 3}}'
    assert read(answer, known={"zoom"}) == [] and len(read(GOOD, known={"zoom"})) == 1


def test_sentence_that_names_the_tag_is_no_call():
    assert read(f"I use <tool_call> now: {CALL}") == [("zoom", ARGUMENTS, False)]


def test_half_a_surrogate_pair_is_replaced():
    text = '<tool_call>{"name": "zoom", "arguments": {"label": "\\ud83d", "\\udc00": ["\\ud83d\\ude00"]}}</tool_call>'
    assert read(text) == [("zoom", {"label": "\ufffd", "\ufffd": ["😀"]}, False)]


OTHER_SPELLINGS = [
    f"<tool_call>\n```json\n{GOOD}\n```\n</tool_call>",
    f"<tool_call>```\n{GOOD}```</tool_call>",
    f"<tool_call>{GOOD}}}</tool_call>",
    f"<tool_call>{GOOD},</tool_call>",
    f"<tool_call>{GOOD[:-1]}</tool_call>",
    f"<tool_call>{GOOD}",
    f"<tool_call>[{GOOD}]</tool_call>",
    f"<tool_call>{ {'name': 'zoom', 'arguments': ARGUMENTS} }</tool_call>",
    "<tool_call>{'name': 'zoom', 'arguments': {'label': 'a', 'bbox_2d': (1, 2, 3, 4),},}</tool_call>",
    "<tool_call>" + GOOD.replace('"', "“") + "</tool_call>",
    f'<tool_call>{{"type": "function", "function": {GOOD}}}</tool_call>',
    "<tool_call>" + GOOD.replace('"arguments"', '"parameters"') + "</tool_call>",
    f"<tool_call>{json.dumps({'name': 'zoom', **ARGUMENTS})}</tool_call>",
    f"{GOOD}\n</tool_call>",
    f"Let me look.\n```json\n{GOOD}\n```",
    f"Let me look.\n{GOOD}",
    "Let me look.\n" + GOOD.replace('"arguments"', '"parameters"'),
    f"<tool_call>\n{CALL}",
]


@pytest.mark.parametrize("text", OTHER_SPELLINGS)
def test_other_spelling_is_read_where_its_meaning_is_certain(text):
    (call,) = read(text)
    assert call[:2] == ("zoom", ARGUMENTS)
    assert call[2] or text.endswith(CALL)
    assert not any(isinstance(call, ToolCall) for call in read_calls(text, lenient=False)) or text.endswith(CALL)


def test_xml_form_is_read_with_texts_as_values():
    body = "<function=zoom>\n<parameter=bbox_2d>\n[1, 2, 3, 4]\n</parameter>\n<parameter=label>\na b\n</parameter>\n"
    expected = [("zoom", {"bbox_2d": "[1, 2, 3, 4]", "label": "a b"}, True)]
    assert read(f"<tool_call>\n{body}</function>\n</tool_call>") == expected
    assert read(f"<tool_call>\n{body}</tool_call>") == expected
    assert read(f"Look.\n{body}</function>\n</tool_call>") == expected
    assert read(f"<tool_call>{body.replace('label', 'bbox_2d')}</tool_call>") == [TurnStatus.NO_JSON], "given twice"


def test_line_break_in_a_string_is_read():
    text = '<tool_call>{"name": "zoom", "arguments": {"label": "red\nsquare"}}</tool_call>'
    assert read(text) == [("zoom", {"label": "red\nsquare"}, True)]


def test_arguments_inside_a_string_are_read():
    text = f"<tool_call>{{'name': 'zoom', 'arguments': '{json.dumps(ARGUMENTS)}'}}</tool_call>"
    assert read(text) == [("zoom", ARGUMENTS, True)]


@pytest.mark.parametrize(
    "text",
    [
        "<tool_call></tool_call>",
        "<tool_call>[1]</tool_call>",
        '<tool_call>{"name": 3, "arguments": {}}</tool_call>',
        '<tool_call>{"name": "zoom"}</tool_call>',
        "<tool_call>" + "[" * 100_000 + "</tool_call>",
        '<tool_call>{"name": "zoom", "arguments": ' + "9" * 5000 + "}</tool_call>",
        '<tool_call>{"name": "zoom", "arguments": {"bbox_2d": [1, 2, 3',
        f"<tool_call>{GOOD[:-20]}</tool_call>",
        f"<tool_call>{GOOD} {GOOD}</tool_call>",
        f"<tool_call>I zoom {GOOD}</tool_call>",
    ],
)
@pytest.mark.parametrize("lenient", [False, True])
def test_bad_call_has_a_status_and_a_sentence(text, lenient):
    (call,) = read_calls(text, lenient=lenient)
    assert isinstance(call, BadCall) and call.status is TurnStatus.NO_JSON and call.sentence.endswith(".")


def test_several_calls_are_read_in_order():
    second = GOOD.replace("[1", "[0")
    text = f"{CALL} then <tool_call>{second}</tool_call><tool_call>{{</tool_call>"
    assert read(text)[0][1]["bbox_2d"][0] == 1 and read(text)[1][1]["bbox_2d"][0] == 0
    assert read(text)[2] is TurnStatus.NO_JSON


def test_descriptions_are_read():
    assert read_descriptions("<description> a red\nsquare </description><answer>") == ["a red\nsquare"]
    assert read_descriptions("<description>a</description> and <description>b</description>") == ["a", "b"]
    assert read_descriptions("<description></description>") == read_descriptions("<description>open") == []


PIECES = ["<tool_call>", "</tool_call>", "<think>", "</think>", GOOD, "{", "}", "[", '"', "'", "name", "NaN", "\\"]
PIECES += ["\n", "\x00", "é", "```", "<function=", "<parameter=a>", "</parameter>", "“", "\ud800", "<description>"]
pieces = st.sampled_from(PIECES)
json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
turns = (
    st.text(max_size=60)
    | st.lists(pieces | st.text(max_size=5), max_size=12).map("".join)
    | json_values.map(lambda value: f"<tool_call>{json.dumps(value)}</tool_call>")
    | json_values.map(lambda value: f"<tool_call>{value!r}</tool_call>")
)


def assert_well_formed(text):
    strict, lenient = read_calls(text, lenient=False), read_calls(text)
    places = [call.place for call in lenient]
    assert places == sorted(places) and all(0 <= begin < end <= len(text) for begin, end in places)
    assert all(first[1] <= second[0] for first, second in zip(places, places[1:], strict=False))
    read_as_written = [call for call in strict if isinstance(call, ToolCall)]
    assert all(call in lenient for call in read_as_written), "a call that is read strictly is read leniently, too"
    for call in lenient:
        if isinstance(call, ToolCall):
            json.dumps([call.name, call.arguments]).encode()
    assert all(read_descriptions(text))


@settings(max_examples=500, deadline=None)
@given(turns)
def test_parser_never_raises(text):
    assert_well_formed(text)


@pytest.mark.parametrize("number", [8_000, pytest.param(300_000, marks=pytest.mark.matrix)])
def test_mangled_calls_do_not_raise(number):
    rng = random.Random(0)
    call = f"<think>x</think>\n{CALL}"
    alphabet = [*map(chr, range(1, 128)), "é", "\x00", *PIECES]
    for _ in range(number):
        text = list(call)
        for _ in range(rng.randint(1, 6)):
            place = rng.randrange(len(text))
            text[place : place + rng.randint(0, 9)] = rng.choices(alphabet, k=rng.randint(0, 2))
            text = text or [""]
        assert_well_formed("".join(text))


LONG = ["<think>", "<think></think>", "</think>", "<tool_call>", "{'name':", "<tool_call>{'name':", "```", "\t"]
LONG += ["<function=a>", "<tool_call><function=a>", "<description>", "<tool_call>```\t"]


@pytest.mark.parametrize("piece", LONG)
def test_time_of_reading_does_not_grow_with_repetition(piece):
    begin = time.process_time()
    read_calls(piece * (100_000 // len(piece)))
    read_calls(f"<tool_call>```json\n{GOOD}{piece * (1800 // len(piece))}x</tool_call>")
    assert time.process_time() - begin < 2, "milliseconds of work"
