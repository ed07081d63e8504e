# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""What a replay finds of each row of a data set for SFT, found once by several processes and kept in a file."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

from filelock import FileLock
from omegaconf import DictConfig, OmegaConf
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from verl_mapo import names
from verl_mapo.coldstart.replay import Replay
from verl_mapo.run_folder import write_whole
from verl_mapo.settings import local_path

if TYPE_CHECKING:
    from verl_mapo.coldstart.dataset import SupervisedDataset

_READ = (names.VISUAL_TOOL_NODE, names.ROLLOUT, names.MM_PROCESSOR_KWARGS, names.CHAT_TEMPLATE_KWARGS)
"""The nodes of the configuration on which a replay depends, beside the limits of lengths among them."""


@dataclass(frozen=True)
class Verdict:
    """What is known of a row.

    Attributes:
        tokens: number of tokens of prompt and response.
        trained: number of tokens with loss.
        calls: number of calls that were carried out.
        findings: reason and detail of each finding of the replay.
    """

    tokens: int
    trained: int
    calls: int
    findings: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, replayed: Replay) -> Verdict:
        """The verdict on a replayed row."""
        return cls(
            len(replayed.token_ids),
            sum(replayed.mask),
            sum(turn.view is not None for turn in replayed.trajectory.turns),
            tuple((finding.reason.value, finding.detail) for finding in replayed.findings),
        )


class _Replays(Dataset):
    """The verdicts of the rows, in the form in which a DataLoader computes them in several processes."""

    def __init__(self, dataset: SupervisedDataset):
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset.rows)

    def __getitem__(self, index: int) -> Verdict:
        return self.dataset.verdict(index)


def verdicts_of(dataset: SupervisedDataset, config: DictConfig) -> list[Verdict]:
    """The verdicts on all rows of a data set, read from ``sft.replays`` or else found and written there.

    The first process that asks for them finds them, and others on the same file system wait for it.

    Args:
        dataset: the data set, whose rows and replayer are there.
        config: the whole configuration.
    """
    folder = dataset.settings.replays
    if folder is None:
        return list(_found(dataset))
    file = local_path(folder).absolute() / f"{_key(dataset, config)}.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{file}.lock"):
        if not file.is_file():
            lines = [json.dumps({"row": row, **asdict(verdict)}) for row, verdict in enumerate(_found(dataset))]
            write_whole(file, "\n".join([*lines, ""]))
        return [_read(json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]


def _found(dataset: SupervisedDataset) -> Iterator[Verdict]:
    cores = dataset.settings.workers or len(os.sched_getaffinity(0))
    workers = cores if min(cores, len(dataset.rows)) > 1 else 0
    loader = DataLoader(
        _Replays(dataset), batch_size=None, num_workers=workers, multiprocessing_context="fork" if workers else None
    )
    yield from tqdm(loader, desc="Replaying the rows", unit="row", disable=None)


def _read(line: dict[str, Any]) -> Verdict:
    findings = tuple((reason, detail) for reason, detail in line["findings"])
    return Verdict(line["tokens"], line["trained"], line["calls"], findings)


def _key(dataset: SupervisedDataset, config: DictConfig) -> str:
    """A name that changes with all on which the verdicts depend, except for the content of the images."""
    nodes = [OmegaConf.select(config, path) for path in _READ]
    plain = [OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node for node in nodes]
    tokenizer, processor = dataset.replayer.tokenizer, dataset.replayer.processor
    parts = [
        [(file, os.stat(file).st_size, os.stat(file).st_mtime_ns) for file in dataset.rows.data_files],
        len(dataset.rows),
        plain,
        sorted(tokenizer.get_vocab().items()),
        getattr(processor, "chat_template", None) or tokenizer.chat_template,
        processor.image_processor.to_dict(),
        metadata.version("verl-mapo"),
    ]
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:16]
