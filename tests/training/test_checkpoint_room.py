# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""A disk that has no room for a checkpoint ends a run with a sentence and leaves the checkpoint before it whole."""

from __future__ import annotations

import errno
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from verl_mapo.training.checkpoint_room import CheckpointRoom, size_of

MB = 10**6


@pytest.fixture
def disk(tmp_path, monkeypatch):
    """A folder on a disk of 10 MB, of which nothing but this folder takes any."""
    folder = tmp_path / "checkpoints"
    disk = SimpleNamespace(folder=folder, size=10 * MB)
    usage = lambda path: SimpleNamespace(free=disk.size - size_of(folder))  # noqa: E731
    monkeypatch.setattr(shutil, "disk_usage", usage)
    return disk


def save(room: CheckpointRoom, step: int, size: int = 4 * MB, mark: bool = True, remove: int | None = None) -> None:
    """Write a checkpoint as verl's workers do, which remove another one before, and mark it."""
    with room.saving(step):
        if remove:
            shutil.rmtree(room.folder / f"global_step_{remove}")
        file = room.folder / f"global_step_{step}" / "actor" / "model.pt"
        file.parent.mkdir(parents=True)
        file.write_bytes(b"0" * size)
    if mark:
        (room.folder / "latest_checkpointed_iteration.txt").write_text(str(step))


def test_checkpoint_without_room_is_not_begun_and_the_one_before_it_stays(disk, caplog):
    room = CheckpointRoom(disk.folder, None)
    save(room, 1)
    assert not caplog.text
    save(room, 2)
    assert "verl-mapo: the next checkpoint will not fit: 2.0 MB are free" in caplog.text
    with pytest.raises(RuntimeError) as stopped:
        save(room, 3)
    sentence = str(stopped.value)
    assert "The checkpoint of step 3 is not written: 2.0 MB are free in" in sentence and str(disk.folder) in sentence
    assert "the last one has 4.0 MB" in sentence and "global_step_2 is whole" in sentence
    assert size_of(disk.folder / "global_step_2") == 4 * MB and not (disk.folder / "global_step_3").exists()


@pytest.mark.parametrize("keep", [None, 0, -1])
def test_nothing_is_removed_without_a_number_of_checkpoints_to_keep(disk, keep):
    room = CheckpointRoom(disk.folder, keep)
    assert room.freed == 0
    save(room, 1)
    assert room.freed == 0


def test_checkpoint_that_verl_removes_makes_room_for_the_next(disk, caplog):
    room = CheckpointRoom(disk.folder, 2)
    save(room, 1), save(room, 2), save(room, 3, remove=1)
    assert not caplog.text
    disk.size = 9 * MB
    save(room, 4, remove=2)


def test_run_that_goes_on_knows_the_size_and_overwrites_what_a_killed_start_left(disk):
    save(CheckpointRoom(disk.folder, 2), 1)
    save(CheckpointRoom(disk.folder, 2), 2, mark=False)
    with pytest.raises(RuntimeError, match="step 3 is not written: 2.0 MB are free"):
        save(CheckpointRoom(disk.folder, 2), 3)
    with CheckpointRoom(disk.folder, 2).saving(2):
        pass


def test_error_of_a_worker_is_a_sentence_and_the_broken_checkpoint_is_removed(disk):
    save(CheckpointRoom(disk.folder, 2), 1)
    with pytest.raises(RuntimeError) as stopped, CheckpointRoom(disk.folder, 2).saving(2):
        (disk.folder / "global_step_2").mkdir()
        (disk.folder / "global_step_2" / "model.pt").write_bytes(b"0" * MB)
        raise OSError(errno.ENOSPC, "No space left on device")
    assert "step 2 could not be written: 5.0 MB are free" in str(stopped.value)
    assert str(stopped.value).endswith("The error is: OSError: [Errno 28] No space left on device")
    assert [folder.name for folder in disk.folder.glob("global_step_*")] == ["global_step_1"]


@pytest.fixture
def tmpfs(tmp_path) -> Iterator[Path]:
    """A real disk of 6 MB."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "none", str(tmp_path)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting is not permitted here")
    yield tmp_path
    subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def test_real_disk_that_gets_full_while_a_checkpoint_is_written(tmpfs):
    room = CheckpointRoom(tmpfs / "checkpoints", 2)
    with pytest.raises(RuntimeError, match=r"6\.3 MB|MB are free .* No space left on device"):
        save(room, 1, 8 * MB)
    save(room, 2, 4 * MB)
    with pytest.raises(RuntimeError, match="step 3 is not written.* global_step_2 is whole"):
        save(room, 3, 4 * MB)
