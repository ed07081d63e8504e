# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The messages that declare tools and return observations: plain text in plain roles, the same for every chat template.

The declaration goes into the system message and observations into user messages, in the form that the Qwen families
were trained on. A template's own support for tools is not used: verl's schema model drops ``items``, ``minItems`` and
``maxItems`` of a box, and Qwen2.5-VL's chat template renders no tools.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from PIL import Image

from verl_mapo.rollout.plain_text import PlainText, loosened
from verl_mapo.rollout.row_declarations import without_declarations
from verl_mapo.rollout.row_messages import image_parts, text_of
from verl_mapo.rollout.settings import Describe, VisualToolSettings
from verl_mapo.tools.base import VisualTool
from verl_mapo.tools.coordinates import Size

_TOOLS = """# Tools

You may call {calls} in a turn to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
{schemas}
</tools>

For a function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:
<tool_call>
{{"name": <function-name>, "arguments": <args-json-object>}}
</tool_call>"""

_DESCRIBE = """

When you are shown the region, describe what you see in it between <description> and </description> before you go on."""

_FRAME = re.compile(r"</?tool_response>")

DEFAULT_SYSTEM = "You are a helpful assistant."


def declare(
    messages: list[dict[str, Any]], tools: Iterable[VisualTool], describe: Describe, calls_per_turn: int = 1
) -> list[dict[str, Any]]:
    """The messages with the tools declared in the system message; the given list is not changed.

    Args:
        messages: a prompt; a system message is added where it has none.
        tools: the tools, in the order in which they are declared.
        describe: whether the run asks for labels or descriptions, see ``visual_tool.describe``.
        calls_per_turn: ``visual_tool.calls_per_turn``.
    """
    schemas = "\n".join(json.dumps(tool.schema(), ensure_ascii=False) for tool in tools)
    calls = "one function" if calls_per_turn == 1 else f"up to {calls_per_turn} functions"
    declaration = _TOOLS.format(schemas=schemas, calls=calls) + (_DESCRIBE if describe in ("after", "both") else "")
    system, rest = {"role": "system", "content": DEFAULT_SYSTEM}, messages
    if messages and messages[0]["role"] == "system":
        system, rest = messages[0], messages[1:]
    return [{"role": "system", "content": f"{text_of(system)}\n\n{declaration}"}, *rest]


def shown(
    messages: list[dict[str, Any]], plain_text: PlainText, tools: Iterable[VisualTool], settings: VisualToolSettings
) -> list[dict[str, Any]]:
    """The messages of a row as the model is shown them; the given list is not changed.

    They have no special tokens and no declarations of the row itself, and declare the tools, if there are any and the
    row has an image.

    Args:
        messages: see :func:`verl_mapo.rollout.row_messages.normal_form`.
        plain_text: of the model's tokenizer.
        tools: the tools, in the order in which they are declared.
        settings: the settings of the tools.
    """
    plain, tools = plain_text.messages(without_declarations(messages)), list(tools)
    if not tools or not image_parts(plain):
        return plain
    return declare(plain, tools, settings.describe, settings.calls_per_turn)


def observation(*replies: tuple[str, Image.Image | None]) -> dict[str, Any]:
    """The message that returns the results of the calls of a turn to the model.

    Args:
        replies: for each call a text and the image before it, or None if there is none.
    """
    parts: list[dict[str, Any]] = []
    for index, (text, image) in enumerate(replies):
        parts.append({"type": "text", "text": "\n" * (index > 0) + "<tool_response>\n"})
        if image is not None:
            parts.append({"type": "image", "image": image})
        parts.append({"type": "text", "text": f"{loosened(_FRAME, text)}\n</tool_response>"})
    return {"role": "user", "content": parts}


def image_text(index: int, size: Size) -> str:
    """The text beside an image that a tool returns: its index and its size as seen."""
    return f"Image {index}, {size[0]} x {size[1]} pixels."
