# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import fields

import pytest
import torch

from verl_mapo.lens.collection import MANIFEST, Collection
from verl_mapo.settings import ConfigError


def test_collection_is_read_as_it_was_written(tmp_path):
    random = torch.Generator().manual_seed(0)
    written = Collection(
        sketches=torch.randn(4, 8, generator=random),
        question=torch.tensor([0, 0, 1, 1]),
        outcome=torch.tensor([1.0, 0, 0, 1]),
        turn_scores=torch.rand(4, 2, generator=random),
        turn_status=torch.ones(4, 2, dtype=torch.int64),
        tokens=torch.tensor([3, 4, 5, 6]),
        manifest={"model": "tiny", "size": 8},
    )
    written.save(tmp_path)
    found = Collection.load(tmp_path)
    assert found.manifest == written.manifest
    for name in (each.name for each in fields(Collection) if each.type == "Tensor"):
        assert torch.equal(getattr(found, name), getattr(written, name)), name
    (tmp_path / MANIFEST).unlink()
    with pytest.raises(ConfigError, match="no collection of the lens that is complete"):
        Collection.load(tmp_path)
