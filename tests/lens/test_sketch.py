# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from verl_mapo.lens import sketch as module
from verl_mapo.lens.sketch import CountSketch, cosine_error


def sketched(sketch: CountSketch, values: torch.Tensor, name: str = "w") -> torch.Tensor:
    found = torch.zeros(len(values), sketch.size)
    sketch.add(found, name, values)
    return found


def test_every_coordinate_goes_to_one_bucket_with_a_sign():
    found = sketched(CountSketch(64), torch.eye(200))
    assert ((found != 0).sum(dim=1) == 1).all() and (found.abs().sum(dim=1) == 1).all()
    assert found.sum().abs() < 60 and (found.abs().sum(dim=0) < 15).all(), "signs and buckets are even"


def test_buckets_depend_on_seed_name_and_coordinate_alone(monkeypatch):
    values = torch.randn(3, 1000, generator=torch.Generator().manual_seed(0))
    whole = sketched(CountSketch(128), values)
    assert not torch.equal(whole, sketched(CountSketch(128, seed=1), values))
    assert not torch.equal(whole, sketched(CountSketch(128), values, name="v"))
    monkeypatch.setattr(module, "CHUNK", 300)
    monkeypatch.setattr(module, "KEPT", 700)
    in_parts = CountSketch(128)
    for _ in range(2):
        assert torch.allclose(whole, sketched(in_parts, values), atol=1e-5), "kept or computed anew"
    assert sum(len(bucket) for bucket, _ in in_parts._kept.values()) <= 700


@pytest.mark.parametrize("cosine", [0.0, 0.5, 0.95])
def test_cosines_are_kept_within_the_stated_error(cosine):
    """200 pairs of vectors, each sketched with a seed of its own: no bias, and the spread is at most the bound."""
    random, size = torch.Generator().manual_seed(3), 256
    errors = []
    for seed in range(200):
        x, y = torch.randn(2, 5000, generator=random)
        y = cosine * x / x.norm() + (1 - cosine**2) ** 0.5 * y / y.norm()
        pair = torch.stack([x / x.norm(), y / y.norm()])
        found = sketched(CountSketch(size, seed), pair)
        errors.append(float(found[0] @ found[1] - pair[0] @ pair[1]))
    spread = torch.tensor(errors)
    bound = cosine_error(size, cosine)
    assert spread.mean().abs() < 3 * bound / 200**0.5
    assert 0.8 * bound < spread.std() < 1.15 * bound


def test_sketch_is_linear():
    a, b = torch.randn(2, 1, 500, generator=torch.Generator().manual_seed(1))
    sketch = CountSketch(64)
    assert torch.allclose(sketched(sketch, a) + 2 * sketched(sketch, b), sketched(sketch, a + 2 * b), atol=1e-5)
