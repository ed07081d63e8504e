# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The interface of a data set, and its conversion into a parquet file that verl trains on.

To add a data set, derive from :class:`DataSet`. ``verl-mapo data convert`` finds the class by its name in
:data:`verl_mapo.data.DATA_SETS`, or by its dotted path.
"""

from __future__ import annotations

import json
import re
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, TypedDict

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from verl_mapo.settings import ConfigError

BATCH = 1000
"""Number of rows that are in memory at once."""


class Message(TypedDict):
    """One message of a prompt.

    Keys:
        role: ``system``, ``user`` or ``assistant``.
        content: the text; each ``<image>`` in it stands for the next image of the row.
    """

    role: str
    content: str


class ImagePath(TypedDict, total=False):
    """An image of a row.

    Keys:
        image: absolute path of the file.
        max_pixels: the model sees the image at no more than this many pixels, and at no more than
            ``visual_tool.max_image_pixels``; crops are still cut out of all its pixels. If absent or None, the
            processor's limit applies.
    """

    image: str
    max_pixels: int | None


class RewardModel(TypedDict, total=False):
    """How the answer is checked.

    Keys:
        style: a name in :data:`verl_mapo.rewards.answers.CHECKS`, such as ``exact`` or ``math``, or the dotted path of
            an answer check.
        ground_truth: the correct answer.
    """

    style: str
    ground_truth: str
    options: list[str]


class Row(TypedDict):
    """One training example in verl's schema.

    Keys:
        data_source: name of the data set; metrics and report are broken down by it.
        prompt: the messages, with one ``<image>`` for each image.
        images: the images, in the order of their ``<image>``; may be empty.
        reward_model: how the answer is checked.
        extra_info: ``index`` (the example's position in the source, from 0), and the columns that
            :attr:`DataSet.extra_info` declares.
    """

    data_source: str
    prompt: list[Message]
    images: list[ImagePath]
    reward_model: RewardModel
    extra_info: dict[str, Any]


class DataSet(ABC):
    """A public data set.

    Attributes:
        name: value of every row's ``data_source``.
        hub_id: its repository on the Hugging Face hub; empty if there is none.
        extra_info: name and type of the columns in a row's ``extra_info`` beside ``index``.
    """

    name: ClassVar[str]
    hub_id: ClassVar[str] = ""
    extra_info: ClassVar[dict[str, pa.DataType]] = {}

    @abstractmethod
    def rows(self, source: Path) -> Iterator[Row]:
        """Read the data set, one row at a time.

        Args:
            source: local folder with the files of the data set as published.

        Raises:
            ConfigError: the folder lacks a file, or an example cannot be converted.
        """

    @classmethod
    def schema(cls) -> pa.Schema:
        """Columns of the parquet file."""
        return pa.schema(
            {
                "data_source": pa.string(),
                "prompt": pa.list_(pa.struct({"role": pa.string(), "content": pa.string()})),
                "images": pa.list_(pa.struct({"image": pa.string(), "max_pixels": pa.int64()})),
                "reward_model": pa.struct(
                    {"style": pa.string(), "ground_truth": pa.string(), "options": pa.list_(pa.string())}
                ),
                "extra_info": pa.struct({"index": pa.int64(), **cls.extra_info}),
            }
        )


@dataclass(frozen=True)
class Conversion:
    """The result of a conversion.

    Attributes:
        file: the parquet file.
        rows: number of rows.
        images: number of images in these rows.
    """

    file: Path
    rows: int
    images: int


def convert(dataset: DataSet, source: Path | str, out: Path, limit: int | None = None) -> Conversion:
    """Write ``train.parquet`` with the rows of a data set. An interrupted conversion leaves no such file.

    Args:
        dataset: the data set.
        source: local folder with its files, or the id of a repository on the Hugging Face hub, which is downloaded to
            ``out/source``. Rows hold the paths of images in this folder, so it must stay where it is.
        out: folder to write to; made if absent.
        limit: number of rows to write; None for all.

    Raises:
        ConfigError: the source does not exist, has no rows, or has a row that does not fit the schema.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise ConfigError(f"--out {out} is a file: give a folder.") from None
    folder = _local_folder(source, out / "source")
    if folder.resolve() == out.resolve():
        raise ConfigError(f"--out {out} is the folder of the source: give another one.")
    file, draft = out / "train.parquet", out / ".train.parquet"
    rows = islice(_readable(dataset, folder), limit)
    count = images = 0
    with pq.ParquetWriter(draft, dataset.schema()) as writer, tqdm(desc=dataset.name, unit="row") as bar:
        while batch := list(islice(rows, BATCH)):
            writer.write_table(_table(batch, dataset))
            count += len(batch)
            images += sum(len(row["images"]) for row in batch)
            bar.update(len(batch))
    if not count:
        draft.unlink()
        raise ConfigError(f"--source {source} holds no row of {dataset.name}: give the folder of the published files.")
    draft.replace(file)
    return Conversion(file, count, images)


def _readable(dataset: DataSet, folder: Path) -> Iterator[Row]:
    """The rows of a data set; whatever its files do not allow is an error of the source."""
    try:
        yield from dataset.rows(folder)
    except ConfigError:
        raise
    except (OSError, ValueError, LookupError, TypeError, zipfile.BadZipFile) as error:
        fault = f"{type(error).__name__}: {error}"
        raise ConfigError(f"--source {folder} cannot be read as {dataset.name}: {fault}") from error


def _table(rows: list[Row], dataset: DataSet) -> pa.Table:
    schema = dataset.schema()
    for row in rows:
        if unknown := sorted(set(row["extra_info"]) - {"index", *dataset.extra_info}):
            raise ConfigError(
                f"{dataset.name}: a row has extra_info.{unknown[0]}, which {type(dataset).__name__}.extra_info "
                "does not declare: add it there with its type."
            )
        unknown = set(row) - set(schema.names) | set(row["reward_model"]) - set(RewardModel.__annotations__)
        if unknown:
            raise ConfigError(f"{dataset.name}: a row has {min(unknown)!r}, which verl_mapo.data.base.Row has not.")
    try:
        return pa.Table.from_pylist(rows, schema)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise ConfigError(f"{dataset.name}: a row does not fit the schema {schema.names}: {error}") from error


def read_examples(folder: Path) -> Iterator[dict[str, Any]]:
    """The examples in the data files of a folder, in the order of the files' names.

    Args:
        folder: holds ``*.parquet`` files, or else ``*.jsonl`` or ``*.json`` files, at its top or in ``data/``. A
            ``.json`` file is a list of objects.

    Raises:
        ConfigError: there is no such file.
    """
    places = (folder, folder / "data")
    for ending in ("parquet", "jsonl", "json"):
        files = sorted(file for place in places for file in place.glob(f"[!.]*.{ending}"))
        for file in files:
            if ending == "parquet":
                for batch in pq.ParquetFile(file).iter_batches(BATCH):
                    yield from batch.to_pylist()
            elif ending == "jsonl":
                with file.open(encoding="utf-8") as lines:
                    yield from map(json.loads, lines)
            else:
                yield from json.loads(file.read_text(encoding="utf-8"))
        if files:
            return
    raise ConfigError(f"{folder} holds no .parquet, .jsonl or .json file, nor does its folder data.")


def _local_folder(source: Path | str, download_to: Path) -> Path:
    """The folder of a source, which is downloaded if it is on the hub."""
    folder = Path(source)
    if folder.is_dir():
        return folder.resolve()
    if not re.fullmatch(r"\w[\w.-]*/[\w.-]+", str(source)):
        raise ConfigError(
            f"--source {source} is no folder and no id on the Hugging Face hub: give a folder that exists, or an id of "
            "the form OWNER/NAME."
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    # Not datasets.load_dataset, which takes archives of images for data and does not say where it unpacks them.
    try:
        return Path(snapshot_download(str(source), repo_type="dataset", local_dir=download_to)).resolve()
    except (HfHubHTTPError, LocalEntryNotFoundError) as error:
        raise ConfigError(
            f"--source {source} is no folder that exists, and cannot be downloaded from the Hugging Face hub: {error}"
        ) from None
