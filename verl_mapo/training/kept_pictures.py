# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Small copies of the pictures that are no files, written once, so that the report can show them after the run."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from verl_mapo.names import TRAJECTORY
from verl_mapo.rollout.decode import UnreadableImage
from verl_mapo.rollout.images import thumbnail
from verl_mapo.rollout.row_messages import normal_form
from verl_mapo.rollout.row_pictures import CONTENT, Picture
from verl_mapo.run_folder import kept_picture, write_whole
from verl_mapo.training.step_batch import StepBatch, to_list

_SIDE = 384
"""Longest side of a copy in pixels [ours]: a photo takes about 40 kB, and the report can still cut crops out of it."""

_THREADS = 8


def keep_pictures(step: StepBatch, rollout_data_dir: Path | str) -> None:
    """Write a copy of every picture of a step that is known by its content and has no copy yet.

    Args:
        step: a batch with verl's field ``raw_prompt``.
        rollout_data_dir: verl's ``trainer.rollout_data_dir``.
    """
    missing: dict[Path, Picture] = {}
    for prompt, extra in zip(to_list(step.fields["raw_prompt"]), step.extra_fields, strict=True):
        references = (extra.get(TRAJECTORY) or {}).get("images", [])
        files = {
            kept_picture(rollout_data_dir, reference): index
            for index, reference in enumerate(references)
            if reference.startswith(CONTENT)
        }
        new = {file: index for file, index in files.items() if file not in missing and not file.exists()}
        if new:
            pictures = normal_form(prompt)[1]  # the worker has read this prompt, since it knows the references
            missing |= {file: pictures[index] for file, index in new.items()}
    if missing:
        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(_write, missing, missing.values()))


def _write(file: Path, picture: Picture) -> None:
    with suppress(UnreadableImage):  # its rollout has ended, and the record says why
        write_whole(file, thumbnail(picture.pixels(), _SIDE))
