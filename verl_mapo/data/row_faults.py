# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""What may be wrong with a row: a fault of the data leaves it out, a fault of the code stops the conversion."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from verl_mapo.data.reasons import LeftOut
from verl_mapo.data.rows import MARK, ExtraInfo, ImagePath, Message, RewardModel, Row, check_options
from verl_mapo.rewards.answers import can_be_met
from verl_mapo.settings import ConfigError

_TOOL_TAGS = ("<tool_call>", "<tools>", "<tool_response>", "<grounding>")
"""What a neutral row's prompt must not have: the agent loop declares the tools. An answer's form may be asked for."""


def check_row(row: Row, name: str, kind: type = Row) -> None:
    """Check a row before it is written.

    Args:
        row: a row of a data set.
        name: the name of the data set.
        kind: the keys that the row has to have, :class:`Row` or :class:`verl_mapo.data.rows.SupervisedRow`.

    Raises:
        LeftOut: ``empty_answer``, ``impossible_answer``, ``image_marks``, ``tool_text`` or ``malformed``.
        ConfigError: the row, or a part of it, has other keys than the schema.
    """
    _check_keys(row, kind, name, "a row")
    _check_keys(row["reward_model"], RewardModel, name, "reward_model")
    _check_keys(row["extra_info"], ExtraInfo, name, "extra_info")
    for message in row["prompt"]:
        _check_keys(message, Message, name, "a message of prompt")
    for image in row["images"]:
        if set(image) != {"image"} or not str(image["image"]).startswith("file:///"):
            raise ConfigError(
                f"{name}: an entry of images is {dict(image)!r:.200}; it must be what Picture.as_image() gives, "
                f"{ImagePath(image='file:///folder/file.jpg')}."
            )
    marks = sum(message["content"].count(MARK) for message in row["prompt"])
    if marks != len(row["images"]):
        raise LeftOut("image_marks", f"the prompt has {marks} x {MARK}, and the row has {len(row['images'])} images")
    if found := next((tag for message in row["prompt"] for tag in _TOOL_TAGS if tag in message["content"]), None):
        raise LeftOut("tool_text", f"the prompt has {found}: take the instructions out of the question")
    _check_text(row)
    target = row["reward_model"]
    check_options(target["options"] or ())
    if not target["ground_truth"].strip():
        raise LeftOut("empty_answer", "the truth is empty")
    if not can_be_met(target["style"], target["ground_truth"], target["options"] or ()):
        raise LeftOut(
            "impossible_answer",
            f"no answer can equal {target['ground_truth'][:60]!r} under the style {target['style']} and the options "
            f"{target['options']!r:.200}",
        )


def _check_text(row: Row) -> None:
    """Leave out a row with half of a surrogate pair, which JSON can write and UTF-8, and so parquet, cannot hold."""
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        wrong = error.object[error.start : error.end]
        raise LeftOut("malformed", f"a text has {wrong!a}, half of a surrogate pair, which is no character") from None


def _check_keys(part: Mapping[str, Any], kind: type, name: str, what: str) -> None:
    wanted = kind.__annotations__.keys()
    if wrong := sorted(wanted ^ part.keys()):
        state = "lacks" if wrong[0] in wanted else "has"
        raise ConfigError(
            f"{name}: {what} {state} {wrong[0]!r}; its keys are {', '.join(wanted)}. What only this set "
            "has belongs into extra_info.more; make_row() writes all of it."
        )
