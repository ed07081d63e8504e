# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The messages of a data row in one form, whatever form they have in the data.

Arrow fills the keys that a part of a message lacks with None. :func:`read_messages` reads messages as verl, chat
templates and qwen_vl_utils do, and refuses what these would read in different ways, or not at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from verl_mapo.rollout.decode import UnreadableImage
from verl_mapo.rollout.row_pictures import Picture, is_filled, is_present, source_of, unread_keys

ROLES = ("system", "user", "assistant", "tool")
"""Roles that the chat templates of the Qwen families know."""

_MAY_BE_EMPTY = ("system", "assistant")
"""Roles whose messages may have no content: an assistant may only call a tool."""

_KINDS = {
    "text": ("text", "input_text", "output_text"),
    **{medium: (medium, f"{medium}_url", f"input_{medium}") for medium in ("image", "video", "audio")},
}
"""Types of the parts of each medium; a video or audio stands under a key of the same name."""

_OTHER_MEDIA = ("video", "audio")
_PARTS = '{"type": "text", "text": "Why?"} or {"type": "image", "image": "a.png"}'
_NAMES = {
    **{str: "a text", bytes: "bytes", int: "a number", float: "a number", bool: "a truth value"},
    **{dict: "a dict", list: "a list", tuple: "a list"},
}


def normal_form(messages: Any) -> tuple[list[dict[str, Any]], list[Picture]]:
    """The messages of a row with plain parts, and their pictures in order.

    Args:
        messages: the messages of a row, see :func:`read_messages`; they are not changed.

    Returns:
        New messages whose content is a text or a list of parts ``{"type": "text", "text": ...}`` and
        ``{"type": "image"}``, and one picture for each part of the second kind.

    Raises:
        UnreadableImage: the messages have a form that is not supported, or a part names no picture.
    """
    plain = read_messages(messages)
    pictures = [Picture.of(part) for part in image_parts(plain)]
    for message in plain:
        if isinstance(message["content"], list):
            message["content"] = [_only_type(part) for part in message["content"]]
    return plain, pictures


def read_messages(messages: Any) -> list[dict[str, Any]]:
    """The messages of a row in one form; their pictures stay as they are.

    Args:
        messages: the messages of a row, as a list of dicts with a role and a content: a text, a list of parts, or None
            in a message of the system or the assistant. A part is a text, or a dict that holds a text or a picture.

    Returns:
        New messages whose content is a text or a list of parts. A part is ``{"type": "text", "text": ...}``, or a dict
        with type ``image`` that holds a picture under a key of its own (:func:`source_of`).

    Raises:
        UnreadableImage: the messages have another form, or a system message holds an image, for which the declaration
            of the tools leaves no place. The sentence says what it is and what it should be.
    """
    if not _is_list(messages):
        raise UnreadableImage(f"its prompt is {described(messages)}; it should be a list of messages")
    plain = [_plain_message(message) for message in messages]
    if not plain:
        raise UnreadableImage("its prompt is an empty list; it should hold at least one message")
    return plain


def image_parts(messages: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The parts of the messages of :func:`read_messages` that hold an image, in order."""
    contents = [message["content"] for message in messages if isinstance(message["content"], list)]
    return [part for content in contents for part in content if part["type"] == "image"]


def text_form(messages: Any) -> list[dict[str, Any]]:
    """The messages of a row, in any form, with their texts only, for a row that cannot be shown."""
    plain = []
    for message in messages if _is_list(messages) else []:
        if isinstance(message, Mapping):
            content = message.get("content")
            texts = [_text_of(part) for part in content] if _is_list(content) else [content]
            text = "".join(text for text in texts if isinstance(text, str))
            plain.append({"role": message["role"] if message.get("role") in ROLES else "user", "content": text})
    return plain or [{"role": "user", "content": messages if isinstance(messages, str) else ""}]


def check_marks(messages: Iterable[Any], listed: Mapping[str, int]) -> None:
    """Check that a row has as many ``<image>`` as images; verl reads the marks of a row without images as plain text.

    Args:
        messages: the messages of a row as the data hold them; marks count where a content is a text, as for verl.
        listed: for each medium (``image``, ``video``, ``audio``), the number of entries in the column of the row.

    Raises:
        UnreadableImage: with both numbers.
    """
    contents = [message.get("content") for message in messages if isinstance(message, Mapping)]
    for medium, number in listed.items():
        mark = f"<{medium}>"
        marks = sum(content.count(mark) for content in contents if isinstance(content, str))
        if marks != number:
            raise UnreadableImage(
                f"its prompt has {marks} x {mark}, and its column of {medium}s (data.{medium}_key) has {number}; "
                f"write one {mark} for each"
            )


def medium_of(part: Any) -> str:
    """What a part of a message is: ``text``, ``image``, ``video`` or ``audio``; otherwise a description of it.

    A picture counts wherever it stands, as in chat templates and in qwen_vl_utils, whatever type the part has; beside a
    text it would be shown or lost depending on the reader, so that such a part is neither.
    """
    if isinstance(part, str):
        return "text"
    if not isinstance(part, Mapping):
        return described(part)
    kind, text = part.get("type"), part.get("text")
    kind = kind if is_filled(kind) else None
    named = next((medium for medium, kinds in _KINDS.items() if kind in kinds), None) if isinstance(kind, str) else None
    if kind is not None and named is None:
        return f"a part of type {kind!r:.40}"
    for medium in _OTHER_MEDIA:
        if named == medium or any(is_filled(part.get(key)) for key in _KINDS[medium]):
            return medium
    if is_filled(text) and not isinstance(text, str):
        return f"a part whose text is {described(text)}"
    pictured = source_of(part) is not None
    if pictured and is_filled(text):
        return "a part with both a text and an image"
    if pictured or named == "image":
        return "image"
    if named == "text" and not isinstance(text, str):
        unread = unread_keys(part)
        return f"a part of type {kind!r} with {', '.join(unread)} and without text" if unread else "text"
    return "text" if isinstance(text, str) else "a part without a text or an image"


def described(value: Any) -> str:
    """A value of a row in a message: its type, and its beginning where that is short enough to tell something."""
    if not is_present(value):
        return "nothing"
    name = _NAMES.get(type(value), f"a value of type {type(value).__name__}")
    return f"{name} ({value!r:.60})" if type(value) in _NAMES else name


def text_of(message: dict[str, Any]) -> str:
    """The text of a message, without its images."""
    content = message["content"]
    return content if isinstance(content, str) else "".join(part.get("text") or "" for part in content)


def _plain_message(message: Any) -> dict[str, Any]:
    if not isinstance(message, Mapping):
        raise UnreadableImage(f"its prompt holds {described(message)} in the place of a message with role and content")
    role, content = message.get("role"), message.get("content")
    if not isinstance(role, str) or role not in ROLES:
        raise UnreadableImage(f"it holds a message whose role is {described(role)}; the roles are {', '.join(ROLES)}")
    if "content" not in message or (content is None and role not in _MAY_BE_EMPTY):
        raise UnreadableImage(f"it holds a message of role {role} without content; give a text or a list of parts")
    if _is_list(content):
        content = [_plain_part(part) for part in content]
        if role == "system" and any(part["type"] == "image" for part in content):
            raise UnreadableImage("it holds an image in its system message; it belongs into a user message")
    elif content is not None and not isinstance(content, str):
        raise UnreadableImage(
            f"it holds a message of role {role} whose content is {described(content)}; give a text or a list of parts"
        )
    filled = {key: value for key, value in message.items() if is_present(value)}
    return {**filled, "content": "" if content is None else content}


def _plain_part(part: Any) -> dict[str, Any]:
    medium = medium_of(part)
    if medium == "text":
        return {"type": "text", "text": _text_of(part)}
    if medium == "image":
        return {**part, "type": "image"}
    if medium in _OTHER_MEDIA:
        raise UnreadableImage(f"it holds {medium}, and the visual tools work on texts and images only")
    raise UnreadableImage(f"it holds {medium}; a part of a message is a text or an image, such as {_PARTS}")


def _only_type(part: dict[str, Any]) -> dict[str, Any]:
    return {"type": "image"} if part["type"] == "image" else part


def _text_of(part: Any) -> str:
    if isinstance(part, str):
        return part
    text = part.get("text") if isinstance(part, Mapping) else None
    return text if isinstance(text, str) else ""


def _is_list(content: Any) -> bool:
    return isinstance(content, Iterable) and not isinstance(content, str | bytes | bytearray | memoryview | Mapping)
