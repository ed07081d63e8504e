# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The conversion of a data set into a parquet file that verl trains on.

Examples are converted in parts of :data:`PART`. Each part is on disk before the next one begins, so a conversion that
was killed continues behind its last part, and its result is the same to the byte.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tqdm import tqdm

from verl_mapo import __version__
from verl_mapo.data.base import JUDGE, DataSet, Example, LeftOut, Pictures, Row, schema
from verl_mapo.data.parts import Part, Parts
from verl_mapo.data.reading import content_of, fingerprint, local_folder
from verl_mapo.data.reasons import FAULTS_OF_VALUES, INTENDED
from verl_mapo.data.row_faults import check_row
from verl_mapo.data.rows import SupervisedRow
from verl_mapo.overrides import make_folder
from verl_mapo.run_lock import LOCK, locked
from verl_mapo.settings import ConfigError

PART = 1000
"""Number of examples that are converted, and are in memory, at once."""

MAX_LEFT_OUT = 0.05
"""Default of the share of examples above which a conversion stops [ours]."""

LEAST_PIXELS = 4 * 32 * 32
"""Smallest limit of pixels of an image: four tokens of Qwen3-VL, below which qwen_vl_utils raises an error."""

MOST_PIXELS = 2**31 - 1
"""Largest limit of pixels of an image that is taken; it is above every image that a run decodes."""


@dataclass(frozen=True)
class Choices:
    """What the user chooses of a conversion.

    Attributes:
        limit: number of rows to write; None for all.
        max_pixels: limit that is written into every image; None for none.
        without_judged: leave out the rows whose answers no rule can check.
    """

    limit: int | None = None
    max_pixels: int | None = None
    without_judged: bool = False


@dataclass(frozen=True)
class Conversion:
    """The result of a conversion.

    Attributes:
        file: the parquet file.
        rows: number of rows.
        images: number of images in these rows.
        examples: number of examples that were read, with those of files that could not be read.
        styles: number of rows by style.
        left_out: number of examples that became no row, by reason.
    """

    file: Path
    rows: int = 0
    images: int = 0
    examples: int = 0
    styles: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)


def convert(
    dataset: DataSet,
    source: Path | str,
    out: Path,
    limit: int | None = None,
    max_left_out: float = MAX_LEFT_OUT,
    max_pixels: int | None = None,
    without_judged: bool = False,
) -> Conversion:
    """Write ``train.parquet`` with the rows of a data set, ``left_out.jsonl`` and ``conversion.json``.

    An interrupted conversion leaves none of them; called again with the same arguments, it continues.

    Args:
        dataset: the data set.
        source: local folder with its files, or the id of a repository on the Hugging Face hub, which is downloaded to
            ``out/source``. Rows hold the paths of images in this folder, so it must stay where it is.
        out: folder to write to; made if absent. Images that the source holds as bytes are written to ``out/images``.
        limit: number of rows to write; None for all.
        max_left_out: largest share of examples that may be left out; those left out on purpose
            (:data:`verl_mapo.data.reasons.INTENDED`) do not count.
        max_pixels: limit that is written into every image; None for none.
        without_judged: leave out the rows whose answers no rule can check.

    Raises:
        ConfigError: ``out`` cannot be written to, holds the source's files, or is in use by another conversion;
            ``max_pixels`` is below :data:`LEAST_PIXELS` or above :data:`MOST_PIXELS`; the source does not exist or has
            no rows; the share left out is above ``max_left_out``; or the code of the data set makes a row that does
            not fit the schema.
    """
    make_folder("--out", out)
    folder = local_folder(source, out / "source")
    files = fingerprint(folder, dataset.files)
    if out.resolve() in {folder, folder / "data", *((folder / name).parent.resolve() for name, *_ in files)}:
        raise ConfigError(
            f"--out {out} is a folder of the source, where train.parquet would be read as a file of it: give another "
            f"one, for example {folder}-rows."
        )
    if max_pixels is not None and not LEAST_PIXELS <= max_pixels <= MOST_PIXELS:
        raise ConfigError(
            f"--max-pixels={max_pixels} is refused: qwen_vl_utils shows no image at fewer than {LEAST_PIXELS} pixels; "
            f"use at least {LEAST_PIXELS} and at most {MOST_PIXELS}, for example {1280 * 32 * 32}."
        )
    choices = Choices(limit, max_pixels, without_judged)
    given = {"data_set": path_of(type(dataset)), "options": dataset.given, "source": str(source), **asdict(choices)}
    state = {"folder": str(folder), "files": files, "version": __version__}
    with locked(out / LOCK):
        parts = Parts(out / ".parts", given | state)
        converter = _Converter(dataset, folder, out, choices)
        _convert_parts(converter, parts)
        try:
            return _joined(dataset, parts, out, converter.schema, given | {"max_left_out": max_left_out})
        finally:
            (out / ".train.parquet").unlink(missing_ok=True)


def path_of(part: type) -> str:
    """The dotted path of a class."""
    return f"{part.__module__}:{part.__qualname__}"


class _Converter:
    """Converts the examples of one source, one part at a time.

    Args:
        dataset, source, out: see :func:`convert`; the source is a folder.
        choices: what the user chooses.
    """

    def __init__(self, dataset: DataSet, source: Path, out: Path, choices: Choices):
        self.dataset, self.source, self.choices = dataset, source, choices
        self.pictures = Pictures(source, out)
        self.schema = schema(choices.max_pixels is not None, dataset.supervised)
        self.ids: set[str] = set()

    def examples(self, start: int) -> Iterator[tuple[int, Example | LeftOut]]:
        """The numbered examples from an index on; what the files do not allow is an error of the source."""
        try:
            yield from islice(enumerate(self.dataset.examples(self.source)), start, None)
        except ConfigError:
            raise
        except (OSError, ValueError, LookupError, TypeError, zipfile.BadZipFile) as error:
            fault = f"{type(error).__name__}: {error}"
            raise ConfigError(
                f"--source {self.source} cannot be read as {self.dataset.name}: {fault}. Give the folder of the "
                f"published files; this one holds {content_of(self.source)}."
            ) from error

    def part(self, examples: Iterator[tuple[int, Example | LeftOut]], most: int | None, bar: tqdm) -> Part:
        """The next part: up to :data:`PART` examples, and up to ``most`` rows."""
        part, rows = Part(), []
        for index, example in islice(examples, PART):
            part.read += 1
            try:
                if isinstance(example, LeftOut):
                    raise example
                rows.append(self._row(index, example))
                part.examples += 1
            except LeftOut as left:
                part.examples += left.examples
                about = {"index": index, "id": self._name(index, example), "reason": left.reason, "detail": left.detail}
                part.left_out.append(about | ({"examples": left.examples} if left.examples > 1 else {}))
            bar.update()
            if most is not None and len(rows) >= most:
                break
        part.table = _table(rows, self.schema, self.dataset.name)
        return part

    def _name(self, index: int, example: Example | LeftOut) -> str:
        """The id of an example that becomes no row; its index where its form does not even allow an id."""
        try:
            return str(index) if isinstance(example, LeftOut) else self.dataset.id_of(index, example)
        except FAULTS_OF_VALUES:
            return str(index)

    def _row(self, index: int, example: Example) -> Row:
        """The checked row of an example.

        Raises:
            LeftOut: it becomes none.
            ConfigError: the code of the data set makes rows of another form.
        """
        try:
            row = self.dataset.row(index, example, self.pictures)
        except (LeftOut, ConfigError):
            raise
        except KeyError as error:
            raise LeftOut("missing_column", f"the example has no {error}") from None
        except FAULTS_OF_VALUES as error:
            raise LeftOut("malformed", f"{type(error).__name__}: {error}"[:300]) from None
        check_row(row, self.dataset.name, SupervisedRow if self.dataset.supervised else Row)
        name = row["extra_info"]["id"]
        if name in self.ids:
            raise LeftOut("duplicate_id", f"an earlier example has the id {name}")
        if self.choices.without_judged and row["reward_model"]["style"] == JUDGE:
            raise LeftOut("judged", f"no rule can check {row['reward_model']['ground_truth'][:100]!r}")
        self.ids.add(name)
        if self.choices.max_pixels is not None:
            for image in row["images"]:
                image["max_pixels"] = self.choices.max_pixels
        return row


def _convert_parts(converter: _Converter, parts: Parts) -> None:
    """Convert what is not converted yet."""
    read = rows = 0
    for part in parts.sound():
        read, rows = read + part.read, rows + len(part.table)
        converter.ids.update(part.ids())
    limit, total = converter.choices.limit, converter.dataset.count(converter.source)
    examples = converter.examples(read)
    with tqdm(desc=converter.dataset.name, unit="example", initial=read, total=total, mininterval=1) as bar:
        while limit is None or rows < limit:
            part = converter.part(examples, None if limit is None else limit - rows, bar)
            if not part.read:
                return
            parts.append(part)
            rows += len(part.table)


def _joined(dataset: DataSet, parts: Parts, out: Path, wanted: pa.Schema, about: dict[str, Any]) -> Conversion:
    """Join the parts into the files of the result, and remove them.

    Raises:
        ConfigError: too many examples are left out, or there is no row.
    """
    done = Conversion(out / "train.parquet")
    table, faults = out / ".train.parquet", out / ".left_out.jsonl"
    with pq.ParquetWriter(table, wanted) as writer, _opened(faults) as listed:
        for part in parts:
            writer.write_table(part.table)
            listed.writelines(json.dumps(left, ensure_ascii=False) + "\n" for left in part.left_out)
            done = _with(done, part)
    faults.replace(out / "left_out.jsonl")
    try:
        _check_share(dataset, done, about["max_left_out"])
        if not done.rows:
            listed = ", ".join(f"{reason} {count}" for reason, count in done.left_out.most_common())
            left = f"all {done.examples} examples are left out ({listed}), see {out / 'left_out.jsonl'}. Give"
            advice = f"{left if listed else 'give'} the folder of the published files."
            raise ConfigError(f"--source {about['source']} holds no row of {dataset.name}: {advice}")
    except ConfigError:
        parts.remove()  # the user may mend the source, for example unpack its images, which the parts do not notice
        raise
    counts = {name: value for name, value in vars(done).items() if name != "file"}
    (out / "conversion.json").write_text(json.dumps(about | counts, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    table.replace(done.file)
    parts.remove()
    return done


def _opened(file: Path) -> TextIO:
    """A new file of JSON lines. Half of a surrogate pair, which UTF-8 cannot hold, is written as JSON's ``\\udXXX``."""
    return file.open("w", encoding="utf-8", errors="backslashreplace")


def _with(done: Conversion, part: Part) -> Conversion:
    """The counts of a conversion with those of one more part."""
    images = pc.sum(pc.list_value_length(part.table.column("images"))).as_py() or 0
    left_out = Counter()
    for left in part.left_out:
        left_out[left["reason"]] += left.get("examples", 1)
    return Conversion(
        file=done.file,
        rows=done.rows + len(part.table),
        images=done.images + images,
        examples=done.examples + part.examples,
        styles=done.styles + Counter(pc.struct_field(part.table.column("reward_model"), "style").to_pylist()),
        left_out=done.left_out + left_out,
    )


def _check_share(dataset: DataSet, done: Conversion, most: float) -> None:
    """Raise ConfigError if a larger share of the examples is left out than the user allows."""
    faults = {reason: count for reason, count in done.left_out.most_common() if reason not in INTENDED}
    left = sum(faults.values())
    if left > most * done.examples:
        listed = done.file.with_name("left_out.jsonl")
        with listed.open(encoding="utf-8") as lines:
            first = next(left for left in map(json.loads, lines) if left["reason"] not in INTENDED)
        share = left / done.examples
        raise ConfigError(
            f"{left} of {done.examples} examples of {dataset.name} ({share:.1%}) are left out, and --max-left-out="
            f"{most:g} allows {most:.1%}: {', '.join(f'{reason} {count}' for reason, count in faults.items())}. The "
            f"first is example {first['index']} ({first['detail']}); {listed} has all of them. Check that --source is "
            f"the folder of the published files, or set --max-left-out={math.ceil(share * 100) / 100:g}."
        )


def _table(rows: list[Row], wanted: pa.Schema, name: str) -> pa.Table:
    try:
        return pa.Table.from_pylist(rows, wanted)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise ConfigError(f"{name}: a row does not fit the schema {wanted.names}: {error}") from error
