# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Python's garbage collector in the trainer's process: it waits while a step's rows are read.

The rows of a step are millions of small objects, all of which stay. Each time that their number has grown by a quarter,
the collector looks at all of them and finds nothing: nearly half of the time in which 8192 rows are read from
TransferQueue (docs/scale.md).
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collection_paused() -> Iterator[None]:
    """Let no automatic collection begin inside the block, or inside a function that is decorated with it.

    Objects without cycles are freed as before.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
