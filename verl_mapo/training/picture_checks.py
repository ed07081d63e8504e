# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""A check of the pictures that the rows of the data name, before any worker starts. No picture is opened."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pyarrow as pa
from datasets import Dataset
from omegaconf import DictConfig

from verl_mapo import names
from verl_mapo.rollout.decode import UnreadableImage
from verl_mapo.rollout.row_messages import AskedSize, check_local, medium_of, shorten, source_of
from verl_mapo.settings import ConfigError, select

_BATCH = 64
"""Number of rows in memory at once: a row may hold data URIs of many megabytes."""

_MEDIA = ("image", "video", "audio")
_DEFAULT_KEYS = {"image": "images", "video": "videos", "audio": "audios"}


def check_pictures(config: DictConfig, *rows: Dataset) -> None:
    """Check that the visual tools can show what the rows hold, so far as that can be seen without opening a picture.

    Args:
        config: the whole configuration.
        rows: the training and the validation data.

    Raises:
        ConfigError: a row for the visual tools holds a video or audio, a picture on a server, sizes that contradict
            each other, or another number of pictures than of ``<image>``.
    """
    data, default = config.data, select(config, names.DEFAULT_AGENT_LOOP)
    columns = {medium: data.get(f"{medium}_key", key) for medium, key in _DEFAULT_KEYS.items()}
    prompt = data.get("prompt_key", "prompt")
    for dataset in rows:
        kept = [name for name in (prompt, "agent_name", *columns.values()) if name in dataset.column_names]
        batches = dataset.select_columns(kept).with_format("arrow").iter(_BATCH) if kept else []
        for number, row in enumerate(row for batch in batches for row in _rows(batch)):
            if (row.get("agent_name") or default) != names.AGENT_LOOP:
                continue
            media = {medium: row.get(column) or [] for medium, column in columns.items()}
            try:
                _check_row(row.get(prompt), media)
            except UnreadableImage as error:
                raise ConfigError(f"In the data, row {number} cannot be shown to the model: {error}.") from None


def _check_row(messages: Any, media: Mapping[str, list]) -> None:
    """Check one row, whose ``messages`` may be in any form."""
    contents = [message.get("content") for message in messages] if isinstance(messages, list) else [messages]
    texts = [content for content in contents if isinstance(content, str)]
    parts = [part for content in contents if isinstance(content, list) for part in content]
    for medium in _MEDIA[1:]:
        if media[medium] or any(f"<{medium}>" in text for text in texts) or medium in map(medium_of, parts):
            raise UnreadableImage(
                f"it holds {medium}, and the visual tools work on images only; leave such rows out, or give them "
                f"another agent loop in the column agent_name, for example {names.STOCK_AGENT_LOOPS[0]}"
            )
    marks = sum(text.count("<image>") for text in texts)
    if marks != len(media["image"]):
        raise UnreadableImage(
            f"its prompt has {marks} x <image>, and its column of images (data.image_key) has {len(media['image'])}; "
            "write one <image> for each"
        )
    for image in (*media["image"], *(part for part in parts if medium_of(part) == "image")):
        entry = image if isinstance(image, Mapping) else {"image": image}
        source = source_of(entry)
        check_local(source)
        try:
            AskedSize.of(entry)
        except UnreadableImage as error:
            name = shorten(source, 100) if isinstance(source, str) else "an image"
            raise UnreadableImage(f"{name}: {error}") from None


def _rows(table: pa.Table) -> list[dict[str, Any]]:
    """The rows of a table without the bytes inside its columns, which are the pictures themselves."""
    for index, field in enumerate(table.schema):
        if (bare := _type_without_bytes(field.type)) != field.type:
            with suppress(pa.ArrowInvalid):  # Arrow cannot cast all lists that hold an empty column
                table = table.set_column(index, field.name, table.column(index).cast(bare))
    return table.to_pylist()


def _type_without_bytes(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_struct(kind):
        bare = [field.with_type(_type_without_bytes(field.type)) for field in kind]
        return pa.struct([field for field in bare if field.type not in (pa.binary(), pa.large_binary())])
    if pa.types.is_list(kind):
        return pa.list_(_type_without_bytes(kind.value_type))
    if pa.types.is_large_list(kind):
        return pa.large_list(_type_without_bytes(kind.value_type))
    return kind
