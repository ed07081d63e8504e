# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Mini-o3-Coldstart: about 6,000 dialogues with zooms, for the cold start of Mini-o3."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from typing import Any

from verl_mapo.data.base import MARK, Example, LeftOut, Pictures
from verl_mapo.data.mini_o3 import LEADING
from verl_mapo.data.published import first_of, without_leading
from verl_mapo.data.supervised import Dialogue, SupervisedSet, refuse_other_tool, zoom_turn

_GROUNDING = re.compile(r"<grounding>\s*(.*?)\s*</grounding>", re.DOTALL)
_OBSERVATION = re.compile(r"\(Observation (\d+)\)")
_ORIGINAL = "original_image"


class MiniO3Coldstart(SupervisedSet):
    """About 6,000 dialogues in which the model zooms into an image and into its crops, 4.26 GB.

    The parquet columns are ``conversations``, a Python or JSON literal of ``{from, value}``; ``images``, bytes of the
    original and of each crop; ``image_names``; ``data_source``; ``sample_index``; and ``rollout_index``. A call is
    ``<grounding>{"bbox_2d": [0..1], "source": "original_image" or "observation_N"}</grounding>``, of which the box is
    in parts of the sides of the image that ``source`` names. The system prompt is stripped. The published crops are not
    used. A third-party reader says that the set also holds the beginnings of its dialogues as rows of their own: a
    dialogue without ``<answer>`` is left out on purpose, as ``unfinished``.
    """

    name = "Mini-o3-Coldstart"
    hub_id = "Mini-o3/Mini-o3-Coldstart-Dataset"

    def id_of(self, index: int, example: Example) -> str:
        """See :class:`DataSet`."""
        parts = [example.get(name) for name in ("data_source", "sample_index", "rollout_index")]
        return str(index) if parts[1] is None else ":".join(map(str, parts))

    def dialogue(self, index: int, example: Example, pictures: Pictures) -> Dialogue:
        """See :class:`SupervisedSet`."""
        messages = _literal(first_of(example, ("conversations",)))
        asked, *rest = [message for message in messages if message["from"] != "system"]
        question = without_leading(asked["value"], LEADING)
        originals = first_of(example, ("images",))[: max(question.count(MARK), 1)]
        shown, places = len(originals), {_ORIGINAL: 0}
        turns = []
        for message in rest:
            if message["from"] == "gpt":
                turns.append(_turn(message["value"], places))
            elif MARK in message["value"]:
                number = _OBSERVATION.search(message["value"])
                places[f"observation_{number[1] if number else shown}"] = shown
                shown += 1
        if turns and "<answer>" not in turns[-1]:
            raise LeftOut("unfinished", f"the last turn has no <answer>: {turns[-1][-80:]!r}")
        images = [pictures.of(image) for image in originals]
        more = {"data_source": example.get("data_source")}
        return Dialogue(question, images, turns, self.id_of(index, example), more)


def _turn(text: str, places: Mapping[str, int]) -> str:
    """A turn with its grounding as a call.

    Args:
        text: as published.
        places: index among the images shown of each source that a grounding may name.
    """
    found = _GROUNDING.search(text)
    if not found:
        return text.strip()
    grounding = _literal(found[1])
    source = grounding.get("source", _ORIGINAL)
    if source not in places:
        refuse_other_tool(f"a zoom into {source!r:.40}, which was not shown")
    return zoom_turn(_GROUNDING.sub("", text), grounding["bbox_2d"], places[source])


def _literal(text: Any) -> Any:
    """A value that is published as JSON or as a Python literal.

    Raises:
        LeftOut: ``malformed``, the text is neither.
    """
    if not isinstance(text, str):
        return text
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError):
            continue
    raise LeftOut("malformed", f"neither JSON nor a Python literal: {text:.80}")
