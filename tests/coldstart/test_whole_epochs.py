# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Whatever the step of a checkpoint, a resumed run takes the batches that an uninterrupted one takes after it."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DistributedSampler
from torchdata.stateful_dataloader import StatefulDataLoader
from verl.utils.checkpoint.checkpoint_handler import CheckpointHandler

EPOCHS = 3


def loader() -> StatefulDataLoader:
    rows = list(range(8))
    sampler = DistributedSampler(rows, shuffle=True, num_replicas=1, rank=0, drop_last=True)
    return StatefulDataLoader(rows, batch_size=2, sampler=sampler, drop_last=True)


def batches(loader: StatefulDataLoader, done: int = 0, save: tuple[int, str] = (0, "")) -> list[list[int]]:
    """The loop of verl's sft_trainer after ``done`` steps; ``save`` is the step and the path of a checkpoint."""
    taken, step = [], done
    for epoch in range(done // len(loader), EPOCHS):
        loader.sampler.set_epoch(epoch)
        for batch in loader:
            step += 1
            taken.append(batch.tolist())
            if step == save[0]:
                torch.save(loader.state_dict(), save[1])
    return taken


def resumed(step: int, folder, load) -> list[list[int]]:
    handler = CheckpointHandler.__new__(CheckpointHandler)
    handler.dp_rank = handler.rank = 0
    handler.train_dataloader, handler.resume_global_step = loader(), step
    load(handler, str(folder))
    return batches(handler.train_dataloader, step)


@pytest.mark.parametrize("step", range(1, 12))
def test_a_resumed_run_takes_the_batches_that_follow(tmp_path, step):
    whole = batches(loader(), save=(step, tmp_path / "data_0.pt"))
    assert resumed(step, tmp_path, CheckpointHandler._load_dataloader_state) == whole[step:]


def test_verl_itself_loses_the_epoch_after_a_checkpoint_at_the_end_of_one(tmp_path):
    """If this fails, verl is corrected, and :mod:`verl_mapo.coldstart.whole_epochs` is to be removed."""
    whole = batches(loader(), save=(4, tmp_path / "data_0.pt"))
    assert resumed(4, tmp_path, CheckpointHandler._load_dataloader_state.__wrapped__) == whole[8:]
