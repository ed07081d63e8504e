# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from verl_mapo.lens.collection import MANIFEST, TENSORS, Collection, tensor_names, write_part
from verl_mapo.settings import ConfigError


def rows(questions: list[int], seed: int = 0) -> dict[str, torch.Tensor]:
    random, count = torch.Generator().manual_seed(seed), len(questions)
    return {
        "sketches": torch.randn(count, 8, generator=random),
        "question": torch.tensor(questions, dtype=torch.int64),
        "outcome": torch.rand(count, generator=random),
        "turn_scores": torch.rand(count, 2, generator=random),
        "turn_status": torch.ones(count, 2, dtype=torch.int64),
        "tokens": torch.arange(count),
        "calls": torch.arange(count),
    }


def test_collection_is_read_as_it_was_written(tmp_path):
    written = Collection(**rows([0, 0, 1, 1]), manifest={"model": "tiny", "size": 8})
    written.save(tmp_path)
    found = Collection.load(tmp_path)
    assert found.manifest == written.manifest
    assert all(torch.equal(getattr(found, name), getattr(written, name)) for name in tensor_names())
    for file in (TENSORS, MANIFEST):
        content = (tmp_path / file).read_bytes()
        (tmp_path / file).write_bytes(content[:-5])
        with pytest.raises(ConfigError, match="cannot be read .*: give --run another folder"):
            Collection.load(tmp_path)
        (tmp_path / file).write_bytes(content)
    save_file({"tokens": written.tokens}, tmp_path / TENSORS)
    with pytest.raises(ConfigError, match="by an earlier version, without sketches, question, .*, calls: give --run"):
        Collection.load(tmp_path)
    (tmp_path / MANIFEST).unlink()
    with pytest.raises(ConfigError, match="no collection of the lens that is complete"):
        Collection.load(tmp_path)


def test_parts_are_joined_in_the_order_of_steps_and_questions_that_lack_a_rollout_are_counted(tmp_path):
    parts = {2: rows([1, 0, 0, 1], 2), 10: rows([0, 0, 0, 1], 10)}
    for step, part in parts.items():
        write_part(tmp_path, step, {}, **part)
    found = Collection.of_parts(tmp_path, 2, {"model": "tiny"})
    assert found.question.tolist() == [1, 0, 0, 1] and found.manifest == {"model": "tiny", "left_out": 2}
    assert torch.equal(found.sketches, parts[2]["sketches"])
    # a step without any outcome, and a gradient that is not finite
    write_part(tmp_path, 11, {}, **rows([]))
    parts[2]["sketches"][3, 5] = torch.inf
    write_part(tmp_path, 2, {}, **parts[2])
    found = Collection.of_parts(tmp_path, 2, {})
    assert found.tokens.tolist() == [1, 2] and found.manifest == {"left_out": 3}
    # one question has two rollouts and a continuation, the other lacks a rollout
    role = {"resampled/role": torch.tensor([0, 0, 2, 0])}
    write_part(tmp_path / "axpo", 1, role, **rows([0, 0, 0, 1]))
    resampled = Collection.of_parts(tmp_path / "axpo", 2, {})
    assert resampled.question.tolist() == [0, 0, 0] and resampled.manifest == {"left_out": 1}
    assert resampled.resampled("role").tolist() == [0, 0, 2] and not found.resampled("role").any()
    assert resampled.originals().tokens.tolist() == [0, 1] and found.originals() is found
    with pytest.raises(ConfigError, match="has all of its 5 rollouts"):
        Collection.of_parts(tmp_path, 5, {})
    with pytest.raises(ConfigError, match="did not get through its first step"):
        Collection.of_parts(tmp_path / "none", 2, {})
