# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""A warning of this package is written once, also where another package has silenced the root logger."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from verl_mapo.logs import keep_warnings


@contextmanager
def silenced(what: str, level: int) -> Iterator[None]:
    """The root logger with one handler, without those of pytest, and silenced; all is as before afterwards."""
    root, package = logging.getLogger(), logging.getLogger("verl_mapo")
    before = root.level, root.handlers[:], package.level, package.handlers[:]
    root.handlers = [] if what == "no handler" else [logging.StreamHandler(sys.stderr)]
    package.handlers = []
    try:
        for _ in range(2):
            keep_warnings()
        if what in ("logger", "both"):
            root.setLevel(level)
        if what in ("handler", "both"):
            root.handlers[0].setLevel(level)
        yield
    finally:
        root.setLevel(before[0])
        root.handlers = before[1]
        package.setLevel(before[2])
        package.handlers = before[3]


@pytest.mark.parametrize("level", [logging.ERROR, logging.CRITICAL])
@pytest.mark.parametrize("what", ["nothing", "logger", "handler", "both", "no handler"])
def test_warning_is_written_once_whatever_the_root_logger_is_set_to(what, level, capsys):
    with silenced(what, level):
        logger = logging.getLogger("verl_mapo.training.trainer")
        logger.warning("verl-mapo: the disk is %s", "full")
        logger.info("a detail")
    error = capsys.readouterr().err
    assert error.count("verl-mapo: the disk is full") == 1 and "a detail" not in error


def test_importing_the_server_of_vllm_loses_no_warning():
    code = (
        "import logging, verl, model_hosting_container_standards.logging_config\n"
        "assert logging.root.level == logging.ERROR, 'the package no longer does so; verl_mapo.logs may go'\n"
        "logging.getLogger('verl_mapo.training.trainer').warning('verl-mapo: heard')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.count("verl-mapo: heard") == 1, done.stderr
