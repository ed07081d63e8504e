# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""What the policy of a rehearsal says: thoughts, calls of every tool of the run, some of them wrong, and answers.

The policy is a bigram model. A whole call, thought or answer is one token of its own, so that the token before decides
what comes next, whatever the images and the lengths are. It needs no training and speaks in every context.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from verl_mapo.rollout.parser import CLOSE, END_OF_THINKING, OPEN
from verl_mapo.rollout.settings import VisualToolSettings
from verl_mapo.tools.coordinates import CoordinateSpace

END = "<|im_end|>"
"""The token that ends a turn."""

TURN = "turn"
"""The state at the start of a turn, after the last token of the generation prompt."""

ENDING = "ending"
"""The state after every token that belongs to no other state: the turn ends."""

STATES = (TURN, "thought", "thought_end", "open", "body", "close", ENDING)
"""Every state of the policy. A token leads to one of them."""

THOUGHTS = ("The detail is small. ", "It may be on the left. ", "Both look alike. ")
DESCRIPTION = "<description>a red square</description> "
UNSURE = "I cannot tell."

_BOXES = ((0, 0, 90, 120), (100, 40, 300, 200), (60, 60, 70, 64), (20, 10, 500, 400), (200, 150, 280, 230))
"""Boxes in thousandths of a side or in pixels; in a small crop, some of them lie outside."""

_WRONG = ('\n{"name": "zoom", "arguments": \n', '\n{"name": "no_such_tool", "arguments": {}}\n')
_WRONG_SHARE = 0.1


@dataclass(frozen=True)
class Script:
    """A bigram model over texts, each of them one token.

    Attributes:
        follows: state to the probability of each text that may follow.
        leads_to: text to the state after it; the texts that are missing lead to :data:`ENDING`.
    """

    follows: Mapping[str, Mapping[str, float]]
    leads_to: Mapping[str, str]

    @property
    def texts(self) -> list[str]:
        """Every text that the policy may write."""
        return list(dict.fromkeys(text for texts in self.follows.values() for text in texts))


def write_script(
    settings: VisualToolSettings, space: CoordinateSpace, token_side: int, answers: Sequence[str], thinking: bool
) -> Script:
    """The script of a run.

    Args:
        settings: the tools of the run, and whether they ask for labels or descriptions.
        space: units of the model's boxes.
        token_side: pixels along one image token.
        answers: right answers of the data; each is said as often as the others.
        thinking: whether the chat template opens ``<think>`` for the model.
    """
    tools = settings.build_tools(space, token_side).values()
    bodies = [body for tool in tools for body in _bodies(tool.schema()["function"], space)]
    said = [*(f"<answer>{answer}</answer>" for answer in answers), UNSURE]
    described = {DESCRIPTION: 0.3} if settings.describe in ("after", "both") else {}
    left = 1 - sum(described.values())
    decided = {OPEN: left / 2, **_shared(said, left / 2), **described}
    if thinking:
        turn, thought = _shared(THOUGHTS, 1), {END_OF_THINKING: 0.8, **_shared(THOUGHTS, 0.2)}
    else:
        turn = {**_shared(THOUGHTS, 0.4), **{text: 0.6 * share for text, share in decided.items()}}
        thought = {**_shared(THOUGHTS, 0.2), **{text: 0.8 * share for text, share in decided.items()}}
    again = 0.2 if settings.calls_per_turn > 1 else 0.05
    follows = {
        TURN: turn,
        "thought": thought,
        "thought_end": decided,
        "open": {**_shared(bodies, 1 - _WRONG_SHARE), **_shared(_WRONG, _WRONG_SHARE)},
        "body": {CLOSE: 1.0},
        "close": {END: 1 - again, OPEN: again},
        ENDING: {END: 1.0},
    }
    leads_to = dict.fromkeys(THOUGHTS, "thought") | dict.fromkeys((*bodies, *_WRONG), "body")
    leads_to |= {DESCRIPTION: "thought_end", END_OF_THINKING: "thought_end", OPEN: "open", CLOSE: "close"}
    texts = {text for said in follows.values() for text in said}
    return Script(follows, {text: state for text, state in leads_to.items() if text in texts})


def _bodies(function: Mapping[str, Any], space: CoordinateSpace) -> list[str]:
    """Calls of one tool, without the tags."""
    found = []
    for box in _BOXES:
        arguments = example(function["parameters"], box, space)
        found.append(f"\n{json.dumps({'name': function['name'], 'arguments': arguments})}\n")
    return list(dict.fromkeys(found))


def example(parameters: Mapping[str, Any], box: Sequence[int], space: CoordinateSpace) -> dict[str, Any]:
    """Arguments that fit a JSON schema, except what only code of the tool could tell.

    Args:
        parameters: the schema of the arguments.
        box: corners of a box, from which every list of numbers is filled.
        space: units of the model's boxes.
    """
    properties = parameters["properties"]
    # a tool that requires nothing may want exactly one of several arguments
    wanted = parameters.get("required") or [name for name in properties if name != "img_idx"][:1]
    return {name: _value(properties[name], box, space) for name in wanted}


def _value(schema: Mapping[str, Any], box: Sequence[int], space: CoordinateSpace) -> Any:
    if "enum" in schema:
        return schema["enum"][0]
    if schema.get("type") == "array":
        unit = 1000 if space is CoordinateSpace.normalized_1 else 1
        return [number / unit if unit > 1 else number for number in box[: schema.get("minItems", 4)]]
    values = {"string": "a red square", "integer": 1, "number": 1.0, "boolean": True, "object": {}}
    return values.get(schema.get("type"), "a red square")


def _shared(texts: Iterable[str], share: float) -> dict[str, float]:
    """A probability that is shared equally."""
    texts = list(texts)
    return {text: share / len(texts) for text in texts}
