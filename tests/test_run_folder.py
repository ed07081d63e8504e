# Copyright 2026 The verl_mapo authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""The layout of a run folder."""

from __future__ import annotations

from verl_mapo.run_folder import RunFolder, rollouts_file


def test_attempts_are_numbered_in_order_and_metrics_of_another_launcher_come_first(tmp_path):
    run = RunFolder(tmp_path)
    assert run.metrics == [] and run.next_metrics() == tmp_path / "metrics" / "000.jsonl"
    for name in ("metrics.jsonl", "metrics/000.jsonl", "metrics/001.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [file.name for file in run.metrics] == ["metrics.jsonl", "000.jsonl", "001.jsonl"]
    assert run.next_metrics().name == "002.jsonl"


def test_rollouts_are_found_by_step_where_the_trainer_writes_them(tmp_path):
    run = RunFolder(tmp_path)
    for step in (10, 2):
        file = rollouts_file(run.trajectories, "train", step)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    assert list(run.rollouts("train")) == [2, 10] and run.rollouts("val") == {}
