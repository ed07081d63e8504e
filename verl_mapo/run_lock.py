# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""One command at a time writes into a folder."""

from __future__ import annotations

import fcntl
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from verl_mapo.overrides import make_folder
from verl_mapo.run_folder import RunFolder
from verl_mapo.settings import ConfigError

logger = logging.getLogger(__name__)

LOCK = ".lock"
"""Name of the file that a command locks in a folder of rows, and leaves there, see :func:`locked`."""


@contextmanager
def held(folder: RunFolder) -> Iterator[int]:
    """Hold a run folder for the commands of the block, by ``RUN/run.lock``; see :func:`locked`.

    Raises:
        ConfigError: another command holds the folder, or it cannot be made; see
            :func:`verl_mapo.overrides.make_folder`.
    """
    make_folder("--run", folder.path)
    with locked(folder.lock) as lock:
        yield lock


@contextmanager
def locked(file: Path) -> Iterator[int]:
    """Hold the folder of a lock file for the commands of the block.

    The kernel releases the folder when this process and every process that has inherited the file descriptor have
    ended, however they ended. On a file system without locks, there is a warning instead.

    Args:
        file: the lock file, which is made with its folder if it does not exist, and stays.

    Yields:
        the descriptor of the lock file.

    Raises:
        ConfigError: another command holds the folder.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"{file.parent} is in use by another command, or by a run whose command was killed: wait until its "
                "processes have ended, or give another folder."
            ) from None
        except OSError as error:
            logger.warning("%s cannot be locked (%s): start no second command with it.", file.parent, error)
        yield opened.fileno()
