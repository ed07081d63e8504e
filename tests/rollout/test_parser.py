# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verl_mapo.rollout.parser import BadCall, ToolCall, parse_call, parse_description
from verl_mapo.rollout.statuses import TurnStatus

GOOD = '{"name": "zoom", "arguments": {"label": "a", "bbox_2d": [1, 2, 3, 4]}}'


def test_call_is_parsed():
    call = parse_call(f"<think>look</think>\n<tool_call>\n{GOOD}\n</tool_call> and more")
    assert call == ToolCall("zoom", {"label": "a", "bbox_2d": [1, 2, 3, 4]})


@pytest.mark.parametrize("text", ["", "<answer>4</answer>", "tool_call", "</tool_call>"])
def test_text_without_an_opening_tag_is_no_call(text):
    assert parse_call(text) is None


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (f"<tool_call>{GOOD}", TurnStatus.NO_JSON),
        ("<tool_call></tool_call>", TurnStatus.NO_JSON),
        ("<tool_call>[1]</tool_call>", TurnStatus.NO_JSON),
        ('<tool_call>{"name": 3, "arguments": {}}</tool_call>', TurnStatus.NO_JSON),
        ('<tool_call>{"name": "zoom"}</tool_call>', TurnStatus.NO_JSON),
        ("<tool_call>" + "[" * 100_000 + "</tool_call>", TurnStatus.NO_JSON),
        ('<tool_call>{"name": "zoom", "arguments": ' + "9" * 5000 + "}</tool_call>", TurnStatus.NO_JSON),
        (f"<tool_call>{GOOD}</tool_call><tool_call>{GOOD}</tool_call>", TurnStatus.TWO_CALLS),
    ],
)
def test_bad_call_has_a_status_and_a_sentence(text, status):
    call = parse_call(text)
    assert isinstance(call, BadCall) and call.status is status and call.sentence.endswith(".")


PIECES = ["<tool_call>", "</tool_call>", GOOD, "{", "}", "[", '"', "name", "NaN", "\\", "\n", "\x00", "é"]
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
)


def assert_well_formed(text):
    call = parse_call(text)
    assert call is None or isinstance(call, ToolCall | BadCall)
    assert (call is None) is ("<tool_call>" not in text)
    description = parse_description(text)
    assert description is None or description


@settings(max_examples=3000)
@given(turns)
def test_parser_never_raises(text):
    assert_well_formed(text)


def test_mangled_calls_do_not_raise():
    rng = random.Random(0)
    call = f"<think>x</think>\n<tool_call>\n{GOOD}\n</tool_call>"
    alphabet = [*map(chr, range(1, 128)), "é", "\ud800", "\x00", *PIECES]
    for _ in range(100_000):
        text = list(call)
        for _ in range(rng.randint(1, 6)):
            place = rng.randrange(len(text))
            text[place : place + rng.randint(0, 9)] = rng.choices(alphabet, k=rng.randint(0, 2))
            text = text or [""]
        assert_well_formed("".join(text))


def test_description_is_parsed():
    assert parse_description("<description> a red\nsquare </description><answer>") == "a red\nsquare"
    assert parse_description("<description></description>") is None
    assert parse_description("<description>open") is None
