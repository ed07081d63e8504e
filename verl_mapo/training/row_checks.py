# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""A check of the messages and pictures of the data, row by row, before any worker starts. No picture is opened."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import pyarrow as pa
from datasets import Dataset
from omegaconf import DictConfig

from verl_mapo import names
from verl_mapo.rollout.context_length import check_number_of_images
from verl_mapo.rollout.decode import UnreadableImage
from verl_mapo.rollout.row_declarations import declared_tools
from verl_mapo.rollout.row_messages import check_marks, described, image_parts, read_messages
from verl_mapo.rollout.row_pictures import SOURCE_KEYS, AskedSize, check_source, shorten, source_of, unread_keys
from verl_mapo.rollout.settings import VisualToolSettings
from verl_mapo.settings import ConfigError, parse, select

logger = logging.getLogger(__name__)

_BATCH = 64
"""Number of rows in memory at once: a row may hold data URIs of many megabytes."""

_COLUMNS = {"image": "images", "video": "videos", "audio": "audios"}
"""verl's name of the column of each medium, unless ``data.image_key`` and the like name another."""


def check_messages(config: DictConfig, *datasets: Dataset) -> int:
    """Check that the visual tools can show what the rows hold, so far as that can be seen without opening a picture.

    How many rows declare tools of their own is logged.

    Args:
        config: the whole configuration.
        datasets: the training and the validation data.

    Returns:
        the number of images of the row with the most, among those for the visual tools.

    Raises:
        ConfigError: the data have no messages, a row has more images than the engine takes
            (:func:`verl_mapo.rollout.context_length.check_number_of_images`), or a row for the visual tools has
            messages in a form that is not supported (:func:`verl_mapo.rollout.row_messages.read_messages`), video or
            audio, a picture on a server or under a key that is not read, sizes that contradict each other, or another
            number of pictures than of ``<image>``; the latter also in rows for other loops, where
            :class:`verl_mapo.rollout.row_dataset.RowDataset` reads them.
    """
    data, default = config.data, select(config, names.DEFAULT_AGENT_LOOP)
    columns = {data.get(f"{medium}_key", column): medium for medium, column in _COLUMNS.items()}
    prompt = data.get("prompt_key", "prompt")
    checked, declared = 0, []
    most = {True: (0, 0), False: (0, 0)}
    for dataset in datasets:
        check_prompt_column(config, dataset)
        kept = [name for name in (prompt, "agent_name", *columns) if name in dataset.column_names]
        batches = dataset.select_columns(kept).with_format("arrow").iter(_BATCH)
        for number, row in enumerate(row for batch in batches for row in _rows(batch, columns)):
            media = {name: row.get(name) for name in columns}
            try:
                if (row.get("agent_name") or default) != names.AGENT_LOOP:
                    listed = {medium: _listed(media[column]) for column, medium in columns.items()}
                    most[False] = max(most[False], (listed["image"], -number))
                    if default == names.AGENT_LOOP:  # RowDataset reads these rows too
                        check_marks(row[prompt] or (), listed)
                    continue
                messages, images = _checked(row[prompt], media, columns)
            except UnreadableImage as error:
                raise ConfigError(f"In the data, row {number} cannot be shown to the model: {error}.") from None
            checked += 1
            most[True] = max(most[True], (images, -number))
            declared += [tools] if (tools := declared_tools(messages)) else []
    if declared:
        _warn_of_declarations(parse(VisualToolSettings, config), declared, checked)
    for uses_tools, (images, number) in most.items():
        if images:
            check_number_of_images(config, images, -number, uses_tools)
    return most[True][0]


def check_prompt_column(config: DictConfig, dataset: Dataset) -> None:
    """Check that the data have messages.

    Raises:
        ConfigError: ``data.prompt_key`` is none of their columns.
    """
    prompt = config.data.get("prompt_key", "prompt")
    if prompt not in dataset.column_names:
        raise ConfigError(
            f"data.prompt_key={prompt} is no column of the data, whose columns are "
            f"{', '.join(dataset.column_names)}: set it to the column that holds the messages."
        )


def _checked(prompt: Any, media: Mapping[str, Any], columns: Mapping[str, str]) -> tuple[list[dict[str, Any]], int]:
    """The messages of a row, see :func:`read_messages`, and their number of images, after a check of these.

    Args:
        prompt: the messages as the data hold them.
        media: what the row holds in each column of a medium.
        columns: the medium of each column.
    """
    messages = read_messages(prompt)
    texts = [message["content"] for message in messages if isinstance(message["content"], str)]
    images = image_parts(messages)
    for column, medium in columns.items():
        held = media[column] if media[column] is not None else []
        if not isinstance(held, list):
            raise UnreadableImage(
                f"its column {column} (data.{medium}_key) holds {described(held)}; it should be a list, with one entry "
                f"for each <{medium}> of the prompt"
            )
        if any(f"<{medium}>" in message["content"] for message in messages if message["role"] == "system"):
            raise UnreadableImage(f"it has <{medium}> in its system message; it belongs into a user message")
        if medium != "image" and (held or any(f"<{medium}>" in text for text in texts)):
            raise UnreadableImage(
                f"it holds {medium}, and the visual tools work on images only; leave such rows out, or give them "
                f"another agent loop in the column agent_name, for example {names.STOCK_AGENT_LOOPS[0]}"
            )
        check_marks(messages, {medium: len(held)})
        images += [image if isinstance(image, Mapping) else {"image": image} for image in held]
    for image in images:
        _check_image(image)
    return messages, len(images)


def check_steps(config: DictConfig, rows: int) -> None:
    """Check that the training data fill a batch, and log if they end before the steps that are asked for.

    verl divides by the steps of an epoch when all workers are up, and ends a run with its epochs: then the last step is
    neither saved nor validated. An evaluation trains no step.

    Args:
        config: the whole configuration.
        rows: number of rows of the training data.

    Raises:
        ConfigError: there is no whole batch.
    """
    batch, epochs = config.data.train_batch_size, config.trainer.total_epochs
    if select(config, names.VAL_ONLY):
        return
    if rows < batch:
        raise ConfigError(
            f"{names.TRAIN_BATCH_SIZE}={batch}, but there are {rows} rows to train on, so that there is no whole batch "
            f"and no step: set it to at most {rows}, or train on more rows."
        )
    steps, there = select(config, names.TOTAL_STEPS, 0), rows // batch * epochs
    if steps > there:
        logger.warning(
            "verl-mapo: %s=%d is not reached: %s=%d x %d steps end the run after step %d, which is neither saved nor "
            "validated unless it is a multiple of trainer.save_freq and test_freq. Set %s=%d.",
            *(names.TOTAL_STEPS, steps, names.TOTAL_EPOCHS, epochs, rows // batch, there),
            *(names.TOTAL_EPOCHS, -(-steps // (rows // batch))),
        )


def _check_image(image: Mapping[str, Any]) -> None:
    """Check a part of a message, or an entry of the column of images; an empty one costs its own row alone."""
    source = source_of(image)
    if source is not None:
        check_source(source)
    elif unread := unread_keys(image):
        raise UnreadableImage(
            f"an image of it has {', '.join(unread)}, and its picture is not under {', '.join(SOURCE_KEYS)}, where it "
            "would be read"
        )
    try:
        AskedSize.of(image)
    except UnreadableImage as error:
        name = shorten(source, 100) if isinstance(source, str) else "an image"
        raise UnreadableImage(f"{name}: {error}") from None


def _listed(column: Any) -> int:
    """The number of entries in a column of a row for another agent loop, whose form is left to verl."""
    return len(column) if isinstance(column, list) else 0


def _warn_of_declarations(settings: VisualToolSettings, declared: Sequence[Sequence[str]], rows: int) -> None:
    """Log how many rows declare tools of their own, which are removed from their prompts, and what may be done."""
    foreign = sorted({name for tools in declared for name in tools})
    unknown = [name for name in foreign if name not in settings.aliases]
    logger.warning(
        "%d of %d rows declare tools of their own (%s). These declarations are removed from the prompts, because the "
        "run declares %s.%s",
        len(declared),
        rows,
        ", ".join(foreign),
        ", ".join(settings.tools) or "no tools",
        "".join(
            f" If the model was trained to call {name}, set +visual_tool.aliases.{name}={settings.tools[0]}."
            for name in unknown
            if settings.tools
        ),
    )


def _rows(table: pa.Table, columns: Iterable[str]) -> list[dict[str, Any]]:
    """The rows of a table without the bytes inside these columns, which are the pictures themselves."""
    for index, field in enumerate(table.schema):
        if field.name in columns and (bare := _type_without_bytes(field.type)) != field.type:
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
