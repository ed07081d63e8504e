# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The items of a JSON list are those that ``json.loads`` reads, wherever the chunks of the text end."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verl_mapo.data import json_items as module
from verl_mapo.data.json_items import BrokenList, json_items

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=50)
@given(st.lists(VALUES, max_size=6), st.integers(1, 40), st.sampled_from([None, 1]), st.booleans())
def test_items_are_those_of_the_whole_list(items, chunk, indent, ascii_only):
    text = json.dumps(items, indent=indent, ensure_ascii=ascii_only)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_CHUNK", chunk)
        assert [*json_items(io.StringIO(f" \n{text}\n"))] == items


@pytest.mark.parametrize(
    ("text", "kept", "taken", "fault"),
    [
        ("[1, 2, 3", [1, 2], 6, "no comma or ] after"),
        ('["é", 2 3]', ["é"], 6, "no comma or ] after"),
        ('[1, "two', [1], 3, "Unterminated string"),
        ("[1, 2,", [1, 2], 5, "Expecting value"),
        ("[1, " + "9" * 5000 + "]", [1], 3, "Exceeds the limit"),
        ("[1, " + "[" * 200_000, [1], 3, "recursion"),
        ('[1, "' + "long" * 1000 + '"]', [1], 3, "Unterminated string"),
        ("[", [], 0, "no item after"),
        ("[1, 2]\n[3, 4]", [1, 2], 6, "the list ends before '.3, 4"),
        ("[]" + " " * 2_000_000 + "[3]", [], 0, "the list ends before"),
    ],
)
def test_a_list_that_cannot_be_read_further_tells_what_was_read(monkeypatch, text, kept, taken, fault):
    if "long" in text:
        monkeypatch.setattr(module, "_CHUNK", 4)
        monkeypatch.setattr(module, "LONGEST", 2000)
    items, found = json_items(io.StringIO(text)), []
    with pytest.raises(BrokenList, match=fault) as error:
        found.extend(items)
    assert error.value.taken == taken and found == kept
