# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import fcntl
import os
import select
import signal
import subprocess
import sys

import pytest

from verl_mapo.run_folder import RunFolder
from verl_mapo.run_lock import held
from verl_mapo.settings import ConfigError

COMMAND = """
import os, subprocess, sys
from pathlib import Path
from verl_mapo.launcher import supervise
from verl_mapo.run_folder import RunFolder
from verl_mapo.run_lock import held

child = "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(os.getpid()); time.sleep(600)"
with held(RunFolder(Path(sys.argv[1]))) as lock:
    supervise([sys.executable, "-u", "-c", child], env=os.environ, inherited=[lock])
"""


def test_folder_is_held_by_one_command_at_a_time(tmp_path):
    folder, other = RunFolder(tmp_path / "runs" / "a"), RunFolder(tmp_path / "runs" / "b")
    for _ in range(2):
        with held(folder), held(other):
            with pytest.raises(ConfigError, match=f"{folder.path} is in use by another command, .* give another"):
                held(folder).__enter__()


def test_file_is_no_run_folder(tmp_path):
    (tmp_path / "run.yaml").touch()
    with pytest.raises(ConfigError, match="--run .*run.yaml is a file: give a folder"):
        held(RunFolder(tmp_path / "run.yaml")).__enter__()


def test_folder_of_a_killed_command_is_held_until_its_run_has_ended(tmp_path):
    command = subprocess.Popen([sys.executable, "-c", COMMAND, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    child = int(command.stdout.readline())
    command.kill()
    command.wait()
    with pytest.raises(ConfigError, match="in use by another command, or by a run whose command was killed"):
        held(RunFolder(tmp_path)).__enter__()
    watched = os.pidfd_open(child)
    os.kill(child, signal.SIGKILL)
    select.select([watched], [], [])
    with held(RunFolder(tmp_path)):
        pass


def test_file_system_without_locks_gives_a_warning(tmp_path, monkeypatch, caplog):
    def flock(file: object, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with held(RunFolder(tmp_path)):
        assert "cannot be locked" in caplog.text and "No locks available" in caplog.text
