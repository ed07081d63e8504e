# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Code in a fresh process that has imported neither verl nor this package.

The processes are forks of one that has imported the large libraries beneath verl, so that each starts in a moment.
"""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

_FORKSERVER = multiprocessing.get_context("forkserver")
_FORKSERVER.set_forkserver_preload(
    ["torch", "transformers", "ray", "tensordict", "datasets", "hydra", "vllm", "fastapi", "peft"]
)


def printed(code: str, **env: str) -> list[str]:
    """The lines that some code prints in a fresh process with these environment variables."""
    with ProcessPoolExecutor(1, mp_context=_FORKSERVER) as pool:
        return pool.submit(_run, code, env).result()


def _run(code: str, env: dict[str, str]) -> list[str]:
    os.environ.update(env)
    with contextlib.redirect_stdout(io.StringIO()) as output:
        exec(code, {})
    return output.getvalue().strip().splitlines()
