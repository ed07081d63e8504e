# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Which node and device each actor of the scorer gets. The plan is made from numbers alone, before anything is loaded.

verl takes its GPUs as bundles, each on one node, and stops when any of them is not free as a whole. A scorer therefore
either reserves GPUs that no bundle needs (``num_gpus`` above 0), or reserves none and computes beside training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice

from verl_mapo.names import ALIGNMENT_NODE
from verl_mapo.rewards.scorers.settings import ScorerSettings
from verl_mapo.settings import ConfigError

_NODE = f"{ALIGNMENT_NODE}.scorer"


@dataclass(frozen=True)
class Node:
    """A node of a Ray cluster.

    Attributes:
        node_id: Ray's id of the node.
        gpus: number of its GPUs.
        free_gpus: how many of them nobody has reserved.
    """

    node_id: str
    gpus: int = 0
    free_gpus: float = 0.0


@dataclass(frozen=True)
class Place:
    """Where an actor of the scorer runs: Ray's id of the node, and ``cpu``, ``cuda`` or ``cuda:N``."""

    node_id: str
    device: str


def plan_places(settings: ScorerSettings, nodes: Sequence[Node], training: Sequence[int]) -> list[Place]:
    """The place of each of the ``replicas`` actors: the nodes in turn, and on each node its GPUs in turn.

    Args:
        settings: ``device``, ``num_gpus`` and ``replicas`` are read.
        nodes: the nodes of the cluster, at least one.
        training: number of GPUs of each bundle that verl will reserve on one node.

    Raises:
        ConfigError: there is no GPU, or too few are left beside training.
    """
    if settings.num_gpus:
        return [Place(node_id, settings.target) for node_id in _beside_training(settings, nodes, training)]
    if settings.target == "cpu":
        return [Place(node.node_id, "cpu") for node in islice(cycle(nodes), settings.replicas)]
    with_gpus = [node for node in nodes if node.gpus]
    if not with_gpus:
        raise ConfigError(
            f"{_NODE}.device={settings.device!r} is refused: no node of the Ray cluster has a GPU; set device=cpu."
        )
    places = []
    for index, node in enumerate(islice(cycle(with_gpus), settings.replicas)):
        number = index // len(with_gpus) % node.gpus
        places.append(Place(node.node_id, f"cuda:{number}" if settings.target == "cuda" else settings.target))
    return places


def _beside_training(settings: ScorerSettings, nodes: Sequence[Node], training: Sequence[int]) -> list[str]:
    """Ids of nodes with a free share of a GPU for each actor after training has taken its bundles."""
    free = {node.node_id: int(node.free_gpus) for node in nodes}
    fits = True
    for bundle in sorted(training, reverse=True):
        enough = [node_id for node_id, gpus in free.items() if gpus >= bundle]
        fits = fits and bool(enough)
        if enough:
            free[min(enough, key=free.__getitem__)] -= bundle
    in_a_gpu = int(1 / settings.num_gpus + 1e-6)
    room = {node_id: gpus * in_a_gpu for node_id, gpus in free.items()}
    if not fits or sum(room.values()) < settings.replicas:
        total = sum(node.free_gpus for node in nodes)
        raise ConfigError(
            f"{_NODE}.num_gpus={settings.num_gpus:g} is refused: {total:g} GPUs of the Ray cluster are free, training "
            f"takes {sum(training)} of them whole, and the rest has no room for {_NODE}.replicas={settings.replicas} "
            f"of this share; set {_NODE}.num_gpus=0 with {_NODE}.device=cuda, which computes on the GPUs of training, "
            "or give training fewer GPUs."
        )
    chosen: list[str] = []
    while len(chosen) < settings.replicas:
        for node_id in [node_id for node_id, left in room.items() if left][: settings.replicas - len(chosen)]:
            room[node_id] -= 1
            chosen.append(node_id)
    return chosen
