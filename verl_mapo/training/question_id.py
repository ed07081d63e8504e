# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The identity of a question: a hash of its data row, the same at every step and in every run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from PIL import Image

from verl_mapo.rollout.picture_files import content_reference_of
from verl_mapo.rollout.row_pictures import image_reference


def question_id(data_source: str, index: Any, ground_truth: Any, prompt: Any) -> str:
    """16 hexadecimal digits that are equal for equal rows alone.

    The index alone would not do: verl gives index 0 to a row without one, and two files of one data source may count
    from 0 each. Nor would the text: images that are given as bytes have no name.

    Args:
        data_source: the row's data set.
        index: the row's ``extra_info.index``.
        ground_truth: its correct answer.
        prompt: its messages; an image in them counts by its path if the data give one, or else by its content, see
            :func:`verl_mapo.rollout.picture_files.content_reference_of`.
    """
    digest = blake2b(digest_size=8)
    for part in _parts((data_source, index, ground_truth, prompt)):
        digest.update(part)
    return digest.hexdigest()


def is_in_share(identity: str, share: float) -> bool:
    """Whether a question is among a share of all questions, the same ones at every step and in every run.

    Args:
        identity: see :func:`question_id`.
        share: from 0, for none, to 1, for all. A larger share has the questions of a smaller one.
    """
    return int(identity, 16) < share * 16 ** len(identity)


def _parts(value: Any) -> Iterator[bytes]:
    """A value as bytes, each part with its type and length in front, so that no two values give the same bytes."""
    if isinstance(value, np.generic | np.ndarray | torch.Tensor):
        value = value.tolist()
    if isinstance(value, Mapping):
        kept = _without_copy(value)
        items = sorted(kept.items(), key=lambda item: str(item[0]))
        yield b"mapping %d " % len(items)
        for item in items:
            yield from _parts(item)
    elif isinstance(value, list | tuple):
        yield b"sequence %d " % len(value)
        for each in value:
            yield from _parts(each)
    else:
        kind, content = _leaf(value)
        yield f"{kind} {len(content)} ".encode()
        yield content


def _without_copy(value: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """A part of a message without the image that verl decodes from the bytes beside it."""
    decoded = isinstance(value.get("bytes"), bytes) and isinstance(value.get("image"), Image.Image)
    return {key: item for key, item in value.items() if key != "image"} if decoded else value


def _leaf(value: Any) -> tuple[str, bytes]:
    if isinstance(value, Image.Image):
        return "image", image_reference(value).encode()
    if isinstance(value, bytes | bytearray):
        return "bytes", bytes(value)
    if isinstance(value, str):
        return "text", content_reference_of(value).encode("utf-8", "surrogatepass")
    if value is None or isinstance(value, bool | int | float):
        return "value", repr(value).encode()
    if type(value).__str__ is object.__str__ and type(value).__repr__ is object.__repr__:
        return type(value).__name__, b""  # such a text would be an address in memory, which differs between steps
    return type(value).__name__, str(value).encode("utf-8", "surrogatepass")
