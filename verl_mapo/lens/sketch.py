# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""A count sketch: gradients of millions of numbers as some thousands, with inner products kept.

Every coordinate of a gradient is added, with a random sign, to one of M buckets (Charikar, Chen and Farach-Colton,
"Finding frequent items in data streams", 2002). For fixed x and y, the inner product of their sketches is an unbiased
estimate of x . y with variance

    (|x|^2 |y|^2 + (x . y)^2 - 2 sum_i x_i^2 y_i^2) / M  <=  (|x|^2 |y|^2 + (x . y)^2) / M,

so the cosine of two gradients has a standard error of about sqrt((1 + cosine^2) / M), see :func:`cosine_error`.
Gradients that are summed before or after sketching have the same sketch.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import torch
from torch import Tensor

KEPT = 1 << 26
"""Most coordinates whose buckets are kept in memory, 5 bytes each; those of further ones are computed at every use."""

CHUNK = 1 << 24
"""Coordinates that are hashed at once."""

_MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, None))


@dataclass
class CountSketch:
    """Buckets and signs of the coordinates of a gradient, which is a set of named parameters.

    Attributes:
        size: M, the number of buckets, > 0.
        seed: of buckets and signs. They depend on it, on the name of the parameter and on the coordinate alone: not on
            the order of the calls, the device, or which parameters are sketched beside it.
    """

    size: int
    seed: int = 0
    _kept: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict, repr=False)

    def add(self, sketches: Tensor, name: str, values: Tensor) -> None:
        """Add the part of some gradients that belongs to one parameter to their sketches, in place.

        Args:
            sketches: (N, M) float32, one sketch a gradient.
            name: name of the parameter.
            values: (N, D) float, the gradients of the parameter, flat.
        """
        for begin in range(0, values.shape[1], CHUNK):
            part = values[:, begin : begin + CHUNK]
            bucket, sign = self._places(name, begin, part.shape[1], values.device)
            # on a CPU, index_add_ along the last axis takes 50 times as long
            sketches.scatter_add_(1, bucket.long().expand(len(part), -1), part.to(sketches.dtype) * sign)

    def _places(self, name: str, begin: int, count: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """(count,) int32 bucket and (count,) int8 sign of the coordinates from ``begin`` on."""
        key = f"{name}[{begin}]"
        if key not in self._kept:
            places = self._hashed(name, begin, count, device)
            if sum(len(bucket) for bucket, _ in self._kept.values()) + count > KEPT:
                return places
            self._kept[key] = places
        bucket, sign = self._kept[key]
        return bucket.to(device), sign.to(device)

    def _hashed(self, name: str, begin: int, count: int, device: torch.device) -> tuple[Tensor, Tensor]:
        digest = hashlib.blake2b(f"{self.seed}:{name}".encode(), digest_size=8).digest()
        start = int.from_bytes(digest, "little", signed=True)
        mixed = _mix(torch.arange(begin, begin + count, device=device) * _signed(0x9E3779B97F4A7C15) + start)
        return ((mixed & 0x7FFFFFFF) % self.size).int(), ((mixed >> 62 & 1) * 2 - 1).to(torch.int8)


def cosine_error(size: int, cosine: float = 0.0) -> float:
    """Standard error of a cosine between two sketched gradients, without unit; the bound at the top of the module.

    Args:
        size: M.
        cosine: the cosine.
    """
    return ((1 + cosine**2) / size) ** 0.5


def _signed(value: int) -> int:
    """The int64 with the bits of an unsigned one."""
    return value - (1 << 64) if value >> 63 else value


def _mix(value: Tensor) -> Tensor:
    """splitmix64's finaliser (Steele, Lea and Flood, 2014): 64 bits that depend on all bits of an int64."""
    for shift, factor in _MIX:
        value = value ^ (value >> shift & ((1 << 64 - shift) - 1))
        value = value if factor is None else value * _signed(factor)
    return value
