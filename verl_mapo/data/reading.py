# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The files of a published set: found locally or downloaded, and read as a stream of examples."""

from __future__ import annotations

import csv
import logging
import re
import sys
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from verl_mapo.data.json_items import DECODER, BrokenList, json_items
from verl_mapo.data.reasons import LeftOut
from verl_mapo.settings import ConfigError

logger = logging.getLogger(__name__)

Example = dict[str, Any]
"""One example as published: its columns by name."""

_BATCH_BYTES = 16 * 2**20
"""Bytes of examples that are read at once, as far as the file tells their size."""

_MOST_ROWS = 1000
_MOST_NAMES = 10
_BUFFER = 2**20
_FORMATS = ("parquet", "jsonl", "json")
_TEXT = "utf-8-sig"
"""UTF-8 with or without the byte order mark that some programs write first."""


def data_files(folder: Path, patterns: Sequence[str] = ()) -> list[Path]:
    """The data files of a folder, in the order in which they are read.

    Args:
        folder: the folder of the published set.
        patterns: globs relative to it, in the order of reading. Without them: all ``*.parquet`` files, or else all
            ``*.jsonl``, or else all ``*.json``, at its top and in ``data/``.

    Raises:
        ConfigError: there is no such file, a glob cannot be read, or a file is of no format that can be read.
    """
    if patterns:
        files = [file for pattern in patterns for file in _matching(folder, pattern)]
        wanted = " or ".join(patterns)
    else:
        found = (_files_in(folder, ending) for ending in _FORMATS)
        files = next(filter(None, found), [])
        wanted = ".parquet, .jsonl or .json file, nor does its folder data"
    if not files:
        raise ConfigError(f"{folder} holds no {wanted}. It holds {content_of(folder)}.")
    if other := next((file for file in files if file.suffix not in _READERS), None):
        raise ConfigError(
            f"{other} is no data file: the formats are {', '.join(_READERS)}. Unpack or convert it, or name other "
            "files, for example --option files=*.jsonl."
        )
    return list(dict.fromkeys(files))


def content_of(folder: Path) -> str:
    """The first names in a folder, in words."""
    names = sorted(f"{each.name}{'/' * each.is_dir()}" for each in folder.glob("[!.]*"))
    more = [f"and {len(names) - _MOST_NAMES} more"] if len(names) > _MOST_NAMES else []
    return ", ".join([*names[:_MOST_NAMES], *more]) or "nothing"


def _matching(folder: Path, pattern: str) -> list[Path]:
    try:
        return sorted(folder.glob(pattern))
    except (ValueError, NotImplementedError) as error:
        raise ConfigError(
            f"{pattern} is no glob of data files: {error}. Use one relative to the source, such as *.jsonl "
            "or **/*.jsonl."
        ) from None


def _files_in(folder: Path, ending: str) -> list[Path]:
    return [file for place in (folder, folder / "data") for file in sorted(place.glob(f"[!.]*.{ending}"))]


def read_examples(folder: Path, patterns: Sequence[str] = ()) -> Iterator[Example | LeftOut]:
    """The examples in the data files of a folder, see :func:`data_files`, as a stream.

    A line or an item of a list that is no JSON object, or has bytes that are no UTF-8, gives one :class:`LeftOut` with
    the reason ``malformed``. A file that cannot be read further gives one with the reason ``broken_file``, which stands
    for the examples that it still holds: as many as its head tells, or else as its size lets expect. The size of an
    example is then the mean of those of this list before the fault, or of the files before, or of the parquet files
    that tell their number of rows.

    Args:
        folder, patterns: see :func:`data_files`. A ``.json`` file is a list of objects, or one object in each line.

    Raises:
        ConfigError: there is no such file.
    """
    files = data_files(folder, patterns)
    sound = sound_bytes = 0
    for file in files:
        read = 0
        try:
            for example in _READERS[file.suffix](file):
                read += 1
                yield example
        except (OSError, ValueError, OverflowError, pa.ArrowException, csv.Error) as error:
            size = sound_bytes / sound if sound else _bytes_by_heads(files)
            left = _expected(file, read, error.taken / read if isinstance(error, BrokenList) and read else size)
            fault = f"{type(error).__name__}: {error}".partition("\n")[0][:300]
            yield LeftOut("broken_file", f"{file} cannot be read after {read} examples: {fault}", left)
        else:
            sound, sound_bytes = sound + read, sound_bytes + file.stat().st_size


def count_examples(folder: Path, patterns: Sequence[str] = ()) -> int | None:
    """How many examples the parquet files of a folder hold, from their heads; None where a file does not tell."""
    try:
        return sum(pq.read_metadata(file).num_rows for file in data_files(folder, patterns))
    except (ConfigError, OSError, pa.ArrowException):
        return None


def fingerprint(folder: Path, patterns: Sequence[str] = ()) -> list[tuple[str, int, int]]:
    """Name, size in bytes and time of change in ns of each data file of a folder; empty if there is none."""
    try:
        states = ((file, file.stat()) for file in data_files(folder, patterns))
        return [(str(file.relative_to(folder)), state.st_size, state.st_mtime_ns) for file, state in states]
    except (ConfigError, OSError):
        return []


def _expected(file: Path, read: int, bytes_each: float | None) -> int:
    """How many examples are left in a file that cannot be read further, at least 1."""
    try:
        left = pq.read_metadata(file).num_rows - read
    except (OSError, pa.ArrowException):
        left = round(file.stat().st_size / bytes_each) - read if bytes_each else 1
    return max(left, 1)


def _bytes_by_heads(files: Sequence[Path]) -> float | None:
    """Bytes of an example in those parquet files that have a whole head; None where there are none."""
    rows = size = 0
    for file in files:
        try:
            rows += pq.read_metadata(file).num_rows
        except (OSError, pa.ArrowException):
            continue
        size += file.stat().st_size
    return size / rows if rows else None


def _parquet(file: Path) -> Iterator[Example]:
    """Rows in batches of bounded size. With a buffer, Arrow does not read the column of a whole row group at once."""
    with pq.ParquetFile(file, buffer_size=_BUFFER, pre_buffer=False) as opened:
        groups = (opened.metadata.row_group(index) for index in range(opened.num_row_groups))
        held = sum(group.total_byte_size for group in groups)
        rows = min(max(_BATCH_BYTES * opened.metadata.num_rows // max(held, 1), 1), _MOST_ROWS)
        for batch in opened.iter_batches(rows):
            yield from batch.to_pylist()


def _lines(file: Path) -> Iterator[Example | LeftOut]:
    with file.open(encoding=_TEXT, errors="surrogateescape") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield _object(line.encode(errors="surrogateescape"), f"line {number} of {file.name}")


def _object(line: bytes, name: str) -> Example | LeftOut:
    try:
        found = DECODER.decode(line.decode())
    except (ValueError, RecursionError) as error:  # also a number of more digits than Python reads
        return LeftOut("malformed", f"{name} is no JSON: {_plain(error)}")
    return found if isinstance(found, dict) else LeftOut("malformed", f"{name} is no JSON object")


def _plain(error: Exception) -> str:
    """What is wrong, in words."""
    if isinstance(error, UnicodeDecodeError):
        return f"its byte {error.start} is no UTF-8: {error.object[max(error.start - 20, 0) : error.end + 20]!r}"
    return str(error)


def _json(file: Path) -> Iterator[Example | LeftOut]:
    with file.open(encoding=_TEXT, errors="surrogateescape") as text:
        if text.read(64).lstrip()[:1] == "[":
            text.seek(0)
            for number, found in enumerate(json_items(text)):
                listed, name = isinstance(found, dict), f"item {number} of {file.name}"
                fault = _plain(found) if isinstance(found, UnicodeDecodeError) else "it is no JSON object"
                yield found if listed else LeftOut("malformed", f"{name}: {fault}")
            return
    yield from _lines(file)


def _tsv(file: Path) -> Iterator[Example | LeftOut]:
    """Rows of a table of VLMEvalKit's form, whose fields may be images in base64; an empty field is None."""
    csv.field_size_limit(sys.maxsize)
    with file.open(encoding=_TEXT, errors="surrogateescape", newline="") as lines:
        for number, row in enumerate(csv.DictReader(lines, delimiter="\t"), 2):
            name = f"row {number} of {file.name}"
            if None in row or None in row.values():
                yield LeftOut("malformed", f"{name} has another number of fields than its head")
            elif wrong := next((column for column, value in row.items() if not _is_utf8(value)), None):
                yield LeftOut("malformed", f"{name} has bytes in {wrong} that are no UTF-8: {row[wrong]!a:.100}")
            else:
                yield {column: value or None for column, value in row.items()}


def _is_utf8(text: str) -> bool:
    """Whether a text that was decoded with ``surrogateescape`` had nothing to escape."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


_READERS = {".parquet": _parquet, ".jsonl": _lines, ".json": _json, ".tsv": _tsv}


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack an archive of images once; an interrupted unpacking leaves no such folder.

    A damaged member becomes an empty file, with a warning.

    Args:
        archive: a zip file. Where it does not exist, the folder has to be there already.
        folder: the folder that is made; where everything in the archive is inside a folder of this name, that one.

    Returns:
        ``folder``.
    """
    if archive.exists() and not folder.exists():
        draft = folder.with_name(f".{folder.name}")
        damaged = []
        with zipfile.ZipFile(archive) as file:
            for member in file.infolist():
                try:
                    file.extract(member, draft)
                except (zipfile.BadZipFile, zlib.error, EOFError):
                    _empty_file(draft, member.filename)
                    damaged.append(member.filename)
        if damaged:
            first = ", ".join(damaged[:_MOST_NAMES])
            logger.warning("%s of %s are damaged and are empty files now, among them %s", len(damaged), archive, first)
        inside = draft / folder.name
        if [*draft.iterdir()] == [inside]:
            inside.rename(folder)
            draft.rmdir()
        else:
            draft.rename(folder)
    return folder


def _empty_file(folder: Path, name: str) -> None:
    """An empty file in the place of a damaged one: a row with it is left out as ``broken_image``."""
    file = folder / name
    if file.resolve().is_relative_to(folder.resolve()):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")


def local_folder(source: Path | str, download_to: Path) -> Path:
    """The folder of a source, which is downloaded if it is on the hub.

    Raises:
        ConfigError: the source is neither a folder nor an id on the hub, or cannot be downloaded.
    """
    folder = Path(source)
    if folder.is_dir():
        return folder.resolve()
    if folder.exists():
        raise ConfigError(f"--source {source} is a file: give its folder, {folder.resolve().parent}.")
    if not re.fullmatch(r"\w[\w.-]*/[\w.-]+", str(source)):
        raise ConfigError(
            f"--source {source} does not exist: give the folder of the published files, or an id on the Hugging Face "
            "hub, of the form OWNER/NAME."
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    # Not datasets.load_dataset, which takes archives of images for data and does not say where it unpacks them.
    try:
        return Path(snapshot_download(str(source), repo_type="dataset", local_dir=download_to)).resolve()
    except (HfHubHTTPError, LocalEntryNotFoundError) as error:
        raise ConfigError(
            f"--source {source} does not exist as a folder, and cannot be downloaded from the Hugging Face hub: {error}"
        ) from None
