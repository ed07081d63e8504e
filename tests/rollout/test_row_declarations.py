# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Tools that data rows declare themselves."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from verl_mapo.rollout.prompts import declare, text_of
from verl_mapo.rollout.row_declarations import declared_tools, without_declarations
from verl_mapo.rollout.settings import VisualToolSettings
from verl_mapo.tools.coordinates import CoordinateSpace

SAMPLE = Path(__file__).parents[3] / "shared" / "samples" / "deepeyes_4rows.parquet"
TOOL = '{"type": "function", "function": {"name": "image_zoom_in_tool", "parameters": {}}}'
SENTENCE = "You are provided with function signatures within <tools></tools> XML tags:"
FORM = """For each call, return JSON within <tool_call></tool_call> XML tags:
<tool_call>
{"name": <function-name>, "arguments": <args-json-object>}
</tool_call>"""
HERMES = f"# Tools\n\nYou may call functions.\n\n{SENTENCE}\n<tools>\n{TOOL}\n</tools>\n\n{FORM}"
QUESTION = "Question: What is on the sign?\nFormat: <tool_call>...</tool_call> (if tools needed) <answer>...</answer>"


def system(text):
    return [{"role": "system", "content": text}]


@pytest.mark.parametrize("declaration", [HERMES, f"{SENTENCE}\n<tools>\n{TOOL}\n</tools>", f"<tools>{TOOL}</tools>"])
@pytest.mark.parametrize(("before", "after"), [("Be brief.", ""), ("Be brief.", QUESTION), ("", QUESTION)])
def test_declaration_is_found_and_only_the_declaration_is_removed(declaration, before, after):
    text = "\n\n".join(filter(None, [before, declaration, after]))
    assert declared_tools(system(text)) == ["image_zoom_in_tool"]
    assert text_of(without_declarations(system(text))[0]) == "\n\n".join(filter(None, [before, after]))


def test_declaration_of_this_package_is_removed_as_well():
    tools = VisualToolSettings().build_tools(CoordinateSpace.pixels, 28).values()
    declared = declare(system("Be brief."), tools, "before")
    assert declared_tools(declared) == ["zoom"] and without_declarations(declared) == system("Be brief.")


@pytest.mark.parametrize(
    "text", ["Which tag: <tools></tools> or <tool_call></tool_call>?", "# Tools\nA hammer.", QUESTION, "<tools>", "hm "]
)
def test_text_that_declares_nothing_stays(text):
    assert declared_tools(system(text)) == [] and without_declarations(system(text)) == system(text)


def test_parts_of_a_message_are_treated_alike():
    parts = [{"type": "image", "image": "a.png"}, {"type": "text", "text": f"{HERMES}\n\nWhat?"}]
    (message,) = without_declarations([{"role": "user", "content": parts}])
    assert message["content"] == [parts[0], {"type": "text", "text": "What?"}] and "Tools" in parts[1]["text"]


@pytest.mark.parametrize("piece", ["# tools\n", "<tools>", f"<tools>{TOOL}</tools>", FORM])
def test_long_texts_are_read_in_little_time(piece):
    text = f"{HERMES}\n{piece * (50_000 // len(piece))}"
    begin = time.process_time()
    declared_tools(system(text)), without_declarations(system(text))
    assert time.process_time() - begin < 2


@pytest.mark.skipif(not SAMPLE.exists(), reason="the published rows are not beside the checkout")
def test_published_rows_of_deepeyes():
    import pyarrow.parquet

    for row in pyarrow.parquet.read_table(SAMPLE, columns=["prompt"]).to_pylist():
        assert declared_tools(row["prompt"]) == ["image_zoom_in_tool"]
        kept = without_declarations(row["prompt"])
        assert kept[0]["content"] == "You are a helpful assistant." and kept[1] == row["prompt"][1]
