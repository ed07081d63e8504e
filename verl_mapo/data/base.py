# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The interface of a data set.

To add a data set, derive from :class:`DataSet`. ``verl-mapo data convert`` finds the class by its name in
:data:`verl_mapo.data.DATA_SETS`, or by its dotted path. Everything that a converter needs is imported from here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from verl_mapo.data.answer_kinds import target_of
from verl_mapo.data.boxes import BoxUnit, pixel_boxes
from verl_mapo.data.pictures import Picture, Pictures
from verl_mapo.data.reading import Example, count_examples, read_examples, unpack
from verl_mapo.data.reasons import REASONS, LeftOut
from verl_mapo.data.rows import MARK, ExtraInfo, ImagePath, Message, RewardModel, Row, make_row, need, schema
from verl_mapo.rewards.answers import JUDGE
from verl_mapo.settings import ConfigError, parse_node

__all__ = [
    "JUDGE",
    "MARK",
    "REASONS",
    "BoxUnit",
    "DataSet",
    "Example",
    "ExtraInfo",
    "ImagePath",
    "LeftOut",
    "Message",
    "Picture",
    "Pictures",
    "RewardModel",
    "Row",
    "make_row",
    "need",
    "pixel_boxes",
    "read_examples",
    "schema",
    "target_of",
    "unpack",
]

ID_COLUMNS = ("id", "qid", "doc_id", "question_id", "sample_id", "index")
"""Columns in which published sets name their examples."""


class DataSet(ABC):
    """A public data set: how its examples are read, and how each becomes a row.

    Args:
        options: the set's own options, ``--option NAME=VALUE`` of the command.

    Attributes:
        name: value of every row's ``data_source``.
        hub_id: its repository on the Hugging Face hub; empty if there is none.
        files: globs of its published data files, in the order in which they are read; empty for all parquet, JSONL or
            JSON files at the top of the folder and in ``data/``.
        Options: a frozen pydantic dataclass with the configuration :data:`verl_mapo.settings.STRICT`; None for a set
            without options.

    Raises:
        ConfigError: an option is unknown or invalid.
    """

    name: ClassVar[str]
    hub_id: ClassVar[str] = ""
    files: ClassVar[tuple[str, ...]] = ()
    Options: ClassVar[type | None] = None

    def __init__(self, options: Mapping[str, Any] | None = None):
        if self.Options is None and options:
            raise ConfigError(f"--option {next(iter(options))} is refused: {self.name} has no options; leave it out.")
        self.given = dict(options or {})
        self.options = None if self.Options is None else parse_node(self.Options, options, "--option")

    def examples(self, source: Path) -> Iterator[Example | LeftOut]:
        """The examples in published columns, as a stream that is the same each time.

        An example that cannot even be read is given as a :class:`LeftOut`, which keeps the others.

        Args:
            source: local folder with the files of the data set as published.

        Raises:
            ConfigError: the folder has no data file.
        """
        return read_examples(source, self.files)

    def count(self, source: Path) -> int | None:
        """How many examples there are, for the progress bar; None if that is not known before they are read."""
        return count_examples(source, self.files)

    def id_of(self, index: int, example: Example) -> str:
        """The name of an example: its value under one of :data:`ID_COLUMNS`, or else its index.

        Args:
            index: the example's position in the source, from 0.
            example: the example in published columns.
        """
        found = (example[column] for column in ID_COLUMNS if example.get(column) is not None)
        return str(next(found, index))

    @abstractmethod
    def row(self, index: int, example: Example, pictures: Pictures) -> Row:
        """The row of an example, see :func:`make_row`.

        A ``KeyError`` counts as ``missing_column``, and any other error of a wrong value as ``malformed``.

        Args:
            index: the example's position in the source, from 0.
            example: the example in published columns.
            pictures: checks the images, and writes those that are bytes.

        Raises:
            LeftOut: the example becomes no row.
        """
