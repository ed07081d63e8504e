# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
from verl_mapo.report.progress import Progress

STEP = (
    "\x1b[36m(TaskRunnerV1 pid=7)\x1b[0m step:12 - actor/lr:0.0001 - mapo/outcome/mean:0.484375 - "
    "critic/score/mean:0.1 - mapo/alignment/mean:-0.05 - "
    "rollout_visual/tool_rate:np.float64(0.98) - timing_s/step:4.2517\n"
)
VALIDATION = "step:0 - val-core/visual_search/acc/mean@1:0.3359375 - val-aux/visual_search/alignment/mean@1:4.1e-01"


def shown(*lines, total=None):
    said = []
    progress = Progress(said.append, total)
    for line in lines:
        progress(line)
    return said, progress


def test_step_is_shown_as_one_line():
    said, _ = shown("noise", STEP, "more noise", total=50)
    assert said == ["step 12/50  outcome 0.484  alignment -0.050  tool rate 0.980  seconds 4.3"]


def test_outcome_under_axpo_is_that_of_original_rollouts():
    said, _ = shown("step:2 - critic/score/mean:0.5 - axpo/outcome/original:0.25 - axpo/recovery_rate:0.125")
    assert said == ["step 2  outcome 0.250  recovered 0.125"]


def test_validation_and_lines_of_this_package_are_shown():
    said, _ = shown(VALIDATION, "(TaskRunnerV1 pid=7) WARNING:2026:verl-mapo: no effect", "verl-mapo: WorkerDict died")
    assert said[0] == "step 0  held-out accuracy 0.336  held-out alignment 0.410"
    assert said[1:] == ["verl-mapo: no effect", "verl-mapo: WorkerDict died"]


def test_last_lines_of_the_output_are_kept():
    _, progress = shown(*(f"line {i}" for i in range(100)))
    assert progress.explain().splitlines()[-1] == "line 99" and len(progress.last) == Progress.KEPT
