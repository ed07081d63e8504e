# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The finished parts of a conversion, on disk until they are joined."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

logger = logging.getLogger(__name__)


@dataclass
class Part:
    """Some consecutive examples.

    Attributes:
        read: number of items that the data set gave.
        examples: number of examples for which these stand, see :class:`verl_mapo.data.reasons.LeftOut`.
        left_out: of each example that became no row: index, id, reason, detail, and ``examples`` if more than 1.
        table: the rows.
    """

    read: int = 0
    examples: int = 0
    left_out: list[dict[str, Any]] = field(default_factory=list)
    table: pa.Table = field(default_factory=lambda: pa.table({}))

    def ids(self) -> list[str]:
        """The ids of the rows."""
        return self.table.column("extra_info").combine_chunks().field("id").to_pylist()


class Parts:
    """Parts in a folder. A part counts once its ``.json`` is there, which is written last.

    Args:
        folder: where the parts are; made if absent, and emptied if its parts are of other settings.
        settings: everything on which the parts depend.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]):
        self.folder = folder
        about, text = folder / "settings.json", json.dumps(settings, indent=1, default=str)
        if folder.exists() and not (about.exists() and about.read_bytes() == text.encode()):
            shutil.rmtree(folder)
        folder.mkdir(exist_ok=True)
        _write(about, text)
        self.count = len(list(folder.glob("[0-9]*.json")))

    def __iter__(self) -> Iterator[Part]:
        return map(self._read, range(self.count))

    def sound(self) -> Iterator[Part]:
        """The parts before the first damaged one. That one and all behind it no longer count, with a warning."""
        for number in range(self.count):
            try:
                part = self._read(number)
            except (OSError, ValueError, pa.ArrowException) as error:
                fault = str(error).partition("\n")[0]
                logger.warning("Part %s in %s is damaged (%s): it is converted again.", number, self.folder, fault)
                for later in range(number, self.count):
                    self._file(later, "json").unlink(missing_ok=True)
                self.count = number
                return
            yield part

    def append(self, part: Part) -> None:
        """Write the next part."""
        pq.write_table(part.table, self._file(self.count, "parquet"))
        about = {"read": part.read, "examples": part.examples, "left_out": part.left_out}
        _write(self._file(self.count, "json"), json.dumps(about))
        self.count += 1

    def remove(self) -> None:
        """Remove all parts."""
        shutil.rmtree(self.folder)

    def _read(self, number: int) -> Part:
        about = json.loads(self._file(number, "json").read_text(encoding="utf-8"))
        return Part(**about, table=pq.read_table(self._file(number, "parquet")))

    def _file(self, number: int, ending: str) -> Path:
        return self.folder / f"{number:06}.{ending}"


def _write(file: Path, text: str) -> None:
    """Write a file that is either whole or absent."""
    draft = file.with_name(f".{file.name}")
    draft.write_text(text, encoding="utf-8")
    draft.replace(file)
