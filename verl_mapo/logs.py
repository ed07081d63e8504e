# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The warnings of this package reach the log of a run, whatever other packages do to Python's root logger.

vLLM's server imports ``model_hosting_container_standards``, which sets the root logger and its handlers to ERROR. So it
is in the trainer, too. verl keeps its own messages in the same way, see ``verl.utils.logging_utils``.
"""

from __future__ import annotations

import logging
import sys

from verl_mapo import names


class WhereRootIsSilent(logging.StreamHandler):
    """Writes a record to stderr, in verl's format, unless a handler of the root logger does so."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(levelname)s:%(asctime)s:%(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, if no other handler will."""
        if all(record.levelno < handler.level for handler in logging.root.handlers):
            self.setStream(sys.stderr)
            super().emit(record)


def keep_warnings() -> None:
    """Give this package's logger a level and a handler of its own. A second call does nothing."""
    logger = logging.getLogger(names.PACKAGE)
    if not any(isinstance(handler, WhereRootIsSilent) for handler in logger.handlers):
        logger.addHandler(WhereRootIsSilent())
        logger.setLevel(logging.WARNING)
