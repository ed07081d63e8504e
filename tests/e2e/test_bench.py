# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""``verl-mapo bench run``: the toy's warm start in the run's own engine, and behind a server of vLLM."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from math import sqrt
from pathlib import Path

import pytest
from support.real_run import TIMEOUT_S

from verl_mapo.benchmarks.answers import read_answers

pytestmark = [pytest.mark.e2e, pytest.mark.matrix]

QUESTIONS = 64
COMMAND = [sys.executable, "-m", "verl_mapo.cli"]


@contextmanager
def vllm_server(model: Path, log: Path) -> Iterator[str]:
    """The URL of vLLM's own OpenAI-compatible server of a model, which it knows as ``toy``."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)]
    command += ["--served-model-name", "toy", "--host", "127.0.0.1", "--port", str(port), "--dtype", "float32"]
    command += ["--max-model-len", "1024", "--max-num-seqs", "16", "--block-size", "16", "--enforce-eager"]
    command += ["--limit-mm-per-prompt", '{"image": 8, "video": 0}', "--generation-config", "vllm"]
    own = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_NO_USAGE_STATS": "1"}
    with log.open("w") as output:
        server = subprocess.Popen(command, env=os.environ | own, stdout=output, stderr=subprocess.STDOUT)
    try:
        for _ in range(600):
            assert server.poll() is None, log.read_text(errors="replace")[-4000:]
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health")
            except urllib.error.URLError:
                time.sleep(1)
            else:
                break
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait(timeout=60)


def bench(*arguments: object) -> None:
    subprocess.run([*COMMAND, "bench", *map(str, arguments)], check=True, timeout=TIMEOUT_S)


def test_model_behind_a_server_is_right_as_often_as_in_the_runs_own_engine(shelf, tmp_path):
    made = subprocess.run([*COMMAND, "toy", "--out", str(shelf)], check=True, stdout=subprocess.PIPE, text=True)
    toy = made.stdout.split()
    test, model = (Path(line.partition("=")[2]) for line in toy[1:3])
    rows = tmp_path / "rows"
    bench("prepare", "toy", "--source", test.parent, "--out", rows, "--limit", QUESTIONS)
    asked = ["run", rows, "--config", "run", "--k", 2, "--batch", 32, "--protocol", "tools", "task=toy", *toy]
    with vllm_server(model, tmp_path / "server.log") as url:
        bench(*asked, "--out", tmp_path / "served", "--server", url, "--server-model", "toy")
    bench(*asked, "--out", tmp_path / "own")

    shares, calls = [], []
    for name in ("served", "own"):
        answers = read_answers(tmp_path / name / "tools" / "answers.jsonl")
        assert len(answers) == QUESTIONS and all(None not in answer.ours for answer in answers)
        shares.append([sum(answer.ours) / 2 for answer in answers])
        calls.append(sum(sum(answer.called) for answer in answers) / QUESTIONS / 2)
    served, own = (sum(share) / QUESTIONS for share in shares)
    paired = [one - other for one, other in zip(*shares, strict=True)]
    error = sqrt(sum((each - served + own) ** 2 for each in paired)) / QUESTIONS
    print(f"right: {served:.3f} behind the server, {own:.3f} in the run's own engine; standard error {error:.3f}")
    assert abs(served - own) <= 3 * error
    assert min(served, own) > 0.25, "the warm start is right in 4 of 10 cases"
    assert min(calls) > 0.9, "the model looks behind a server, too"
