# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Files for the pictures that data rows embed, so that a row carries paths and no pixels.

verl copies a row into the queue once for every rollout, and from there to reward workers, FSDP workers and the trainer.
A picture that the row holds as bytes, as a data URI or as a decoded image is therefore written to a file, once, under a
name made of its content: runs that read the same data share the file.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from PIL import Image

from verl_mapo.names import PICTURE_DIR
from verl_mapo.rollout.row_pictures import CONTENT, Picture, embedded_bytes, shorten
from verl_mapo.settings import ConfigError

_STORED = re.compile(r"/sha256-([0-9a-f]{32})\Z")


@dataclass(frozen=True)
class PictureFiles:
    """The pictures of data rows as files ``<folder>/<2 digits>/sha256-<32 hexadecimal digits>``.

    Any number of processes and nodes may write to the folder at once. Nothing is ever removed: the folder grows to the
    embedded pictures of all data that were read, each of them once.

    Attributes:
        folder: an absolute path, which all nodes can read.
    """

    folder: Path

    def path_of(self, source: Any) -> Any:
        """The path of the file that holds a picture.

        Args:
            source: what :func:`verl_mapo.rollout.row_pictures.source_of` returns.

        Returns:
            The path as a text, which shows the same pixels. What embeds no picture is returned as it is, and a damaged
            one as a short text that names it; it costs its own rollouts when they open it.

        Raises:
            ConfigError: the folder cannot be written.
        """
        if not isinstance(source, str | bytes | Image.Image):
            return source
        picture = Picture(source)
        try:
            if isinstance(source, str) and embedded_bytes(source) is None:
                return source
            if not picture.reference.startswith(CONTENT):  # an image whose pixels are lost
                return picture.reference
            digits = picture.reference.removeprefix(CONTENT)
            file = self.folder / digits[:2] / f"sha256-{digits}"
            content = None if file.exists() else picture.content()
        except ValueError:
            return shorten(source, 100) if isinstance(source, str) else picture.reference
        if content is not None:
            self._write(file, content)
        return str(file)

    def lean(self, value: Any) -> Any:
        """A value of a row, at any depth of dicts and lists, with paths in the place of the pictures that it embeds.

        Bytes under the key ``bytes`` become None, and their path stands under ``path``, as in ``datasets``. Bytes and
        texts that are no picture stay as they are.
        """
        if isinstance(value, Mapping):
            lean = {name: self.lean(item) for name, item in value.items()}
            if lean.get("bytes") != value.get("bytes"):
                lean |= {"bytes": None, "path": lean["bytes"]}
            return lean
        if isinstance(value, list | tuple):
            return [self.lean(item) for item in value]
        return self.path_of(value) if _embeds_picture(value) else value

    def _write(self, file: Path, content: bytes) -> None:
        """Write a file that does not exist, or appears with all of its content in the meantime."""
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with NamedTemporaryFile(dir=file.parent, prefix=".", suffix=".part", delete=False) as part:
                try:
                    part.write(content)
                    part.flush()
                    os.fsync(part.fileno())
                    os.chmod(part.name, 0o644)  # others may read the data, too
                    os.replace(part.name, file)
                except BaseException:
                    os.unlink(part.name)
                    raise
        except OSError as error:
            raise ConfigError(
                f"{PICTURE_DIR}={self.folder} cannot take the pictures that the data embed ({error.strerror}): set it "
                f"to a folder with room for them that all nodes can read, for example {PICTURE_DIR}=/shared/pictures."
            ) from error


def content_reference_of(path: str) -> str:
    """What names a picture in every run: ``sha256:`` and digits for a path of :class:`PictureFiles`, else the path."""
    stored = _STORED.search(path)
    return f"{CONTENT}{stored[1]}" if stored else path


def _embeds_picture(value: Any) -> bool:
    if isinstance(value, str):
        try:
            value = embedded_bytes(value)
        except ValueError:
            return False
    if isinstance(value, bytes):
        try:
            Image.open(io.BytesIO(value))
            return True
        except Exception:  # whatever the plugins of Pillow raise on bytes of any kind
            return False
    return isinstance(value, Image.Image)
