# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The messages that declare tools and return observations: plain text in plain roles, the same for every chat template.

The declaration goes into the system message and observations into user messages, in the form that the Qwen families
were trained on. A template's own support for tools is not used: verl's schema model drops ``items``, ``minItems`` and
``maxItems`` of a box, and Qwen2.5-VL's chat template renders no tools.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from PIL import Image

from verl_mapo.rollout.settings import Describe
from verl_mapo.tools.base import VisualTool
from verl_mapo.tools.coordinates import Size

_TOOLS = """# Tools

You may call one function in a turn to assist with the user query.

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

DEFAULT_SYSTEM = "You are a helpful assistant."


def declare(messages: list[dict[str, Any]], tools: Iterable[VisualTool], describe: Describe) -> list[dict[str, Any]]:
    """The messages with the tools declared in the system message; the given list is not changed.

    Args:
        messages: a prompt; a system message is added where it has none.
        tools: the tools, in the order in which they are declared.
        describe: whether the run asks for labels or descriptions, see ``visual_tool.describe``.
    """
    schemas = "\n".join(json.dumps(tool.schema(), ensure_ascii=False) for tool in tools)
    declaration = _TOOLS.format(schemas=schemas) + (_DESCRIBE if describe in ("after", "both") else "")
    system, rest = {"role": "system", "content": DEFAULT_SYSTEM}, messages
    if messages and messages[0]["role"] == "system":
        system, rest = messages[0], messages[1:]
    text = system["content"]
    if isinstance(text, list):
        text = "".join(part["text"] for part in text)
    return [{"role": "system", "content": f"{text}\n\n{declaration}"}, *rest]


def observation(text: str, image: Image.Image | None = None) -> dict[str, Any]:
    """The message that returns a tool's image, or a sentence, to the model."""
    parts: list[dict[str, Any]] = [{"type": "text", "text": "<tool_response>\n"}]
    if image is not None:
        parts.append({"type": "image", "image": image})
    parts.append({"type": "text", "text": f"{text}\n</tool_response>"})
    return {"role": "user", "content": parts}


def image_text(index: int, size: Size) -> str:
    """The text beside an image that a tool returns: its index and its size as seen."""
    return f"Image {index}, {size[0]} x {size[1]} pixels."


def text_of(message: dict[str, Any]) -> str:
    """The text of a message, without its images."""
    content = message["content"]
    return content if isinstance(content, str) else "".join(part.get("text") or "" for part in content)
