# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""One command at a time writes into a run folder."""

from __future__ import annotations

import fcntl
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from verl_mapo.run_folder import RunFolder
from verl_mapo.settings import ConfigError

logger = logging.getLogger(__name__)


@contextmanager
def held(folder: RunFolder) -> Iterator[int]:
    """Hold a run folder for the commands of the block.

    The kernel releases the folder when this process and every process that has inherited the file descriptor have
    ended, however they ended. On a file system without locks, there is a warning instead.

    Args:
        folder: the run folder, which is made if it does not exist.

    Yields:
        the descriptor of ``RUN/run.lock``.

    Raises:
        ConfigError: another command holds the folder.
    """
    folder.path.mkdir(parents=True, exist_ok=True)
    with folder.lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"{folder.path} is in use by another command, or by a run whose command was killed: wait until its "
                "processes have ended, or give another folder."
            ) from None
        except OSError as error:
            logger.warning("%s cannot be locked (%s): start no second command with it.", folder.path, error)
        yield file.fileno()
