# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Benchmarks as neutral rows, with the official rules beside ours, and the statistics of their answers."""

from __future__ import annotations

from verl_mapo.benchmarks.base import Benchmark, Layout, Question
from verl_mapo.benchmarks.grouping import Answer
from verl_mapo.registry import Registry

BENCHMARKS: Registry[type[Benchmark]] = Registry(
    "benchmark",
    Benchmark,
    {
        "vstar": "verl_mapo.benchmarks.vstar:VStar",
        "hrbench_4k": "verl_mapo.benchmarks.hrbench:HRBench4K",
        "hrbench_8k": "verl_mapo.benchmarks.hrbench:HRBench8K",
        "mme_realworld_lite": "verl_mapo.benchmarks.mme_realworld:MMERealWorldLite",
        "visual_probe_easy": "verl_mapo.benchmarks.visual_probe:VisualProbeEasy",
        "visual_probe_medium": "verl_mapo.benchmarks.visual_probe:VisualProbeMedium",
        "visual_probe_hard": "verl_mapo.benchmarks.visual_probe:VisualProbeHard",
        "zoombench": "verl_mapo.benchmarks.zoombench:ZoomBench",
        "treebench": "verl_mapo.benchmarks.treebench:TreeBench",
        "o3_bench": "verl_mapo.benchmarks.o3_bench:O3Bench",
        "blink": "verl_mapo.benchmarks.perception:Blink",
        "cv_bench": "verl_mapo.benchmarks.perception:CVBench",
        "mmstar": "verl_mapo.benchmarks.perception:MMStar",
        "realworldqa": "verl_mapo.benchmarks.perception:RealWorldQA",
        "pope": "verl_mapo.benchmarks.hallucination:Pope",
        "hallusion_bench": "verl_mapo.benchmarks.hallucination:HallusionBench",
        "mathvista": "verl_mapo.benchmarks.mathematics:MathVista",
        "mathverse": "verl_mapo.benchmarks.mathematics:MathVerse",
        "mathvision": "verl_mapo.benchmarks.mathematics:MathVision",
        "we_math": "verl_mapo.benchmarks.mathematics:WeMath",
        "logicvista": "verl_mapo.benchmarks.mathematics:LogicVista",
        "dynamath": "verl_mapo.benchmarks.mathematics:DynaMath",
        "mmmu_val": "verl_mapo.benchmarks.mmmu:MMMUVal",
        "mmmu_pro": "verl_mapo.benchmarks.mmmu:MMMUPro",
        "geo3k": "verl_mapo.benchmarks.papo:Geo3K",
        "mmk12": "verl_mapo.benchmarks.papo:MMK12",
        "clevr_count": "verl_mapo.benchmarks.papo:ClevrCount",
        "toy": "verl_mapo.benchmarks.toy:Toy",
    },
)
"""The built-in benchmarks, by the name that ``verl-mapo bench prepare`` takes."""

__all__ = ["BENCHMARKS", "Answer", "Benchmark", "Layout", "Question"]
