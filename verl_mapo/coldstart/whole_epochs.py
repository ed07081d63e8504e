# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""A correction of verl 0.9.1: a run of SFT that goes on after a checkpoint at the end of an epoch.

The state of the data loader in such a checkpoint is that of an epoch whose rows are used up. verl loads it into the
loader of the next epoch, which then has no rows: the epoch is lost, and if it was the last one, the run ends without a
step and without an error. Here the next epoch begins with a new loader.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import wrapt
from verl.utils.checkpoint.checkpoint_handler import CheckpointHandler


def _unless_used_up(load: Callable[..., None], handler: CheckpointHandler, args: Any, kwargs: Any) -> None:
    if handler.resume_global_step % len(handler.train_dataloader):
        load(*args, **kwargs)


CheckpointHandler._load_dataloader_state = wrapt.FunctionWrapper(
    CheckpointHandler._load_dataloader_state, _unless_used_up
)
