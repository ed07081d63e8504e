# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""A Ray cluster of several nodes on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from ray.cluster_utils import Cluster


@contextmanager
def ray_cluster(**node: Any) -> Iterator[Cluster]:
    """A cluster with its first node; ``add_node`` adds others. Only a process that is given the address joins it.

    Ray would write the address into a file, from which every ``ray.init()`` on this machine takes it.

    Args:
        node: what Ray's ``Cluster`` takes for a node.
    """
    files = ("ray._private.utils.write_ray_address", "ray._common.utils.reset_ray_address")
    with patch(files[0]), patch(files[1]):
        cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
        try:
            yield cluster
        finally:
            cluster.shutdown()
