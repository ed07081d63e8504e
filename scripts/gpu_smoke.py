# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The steps of scripts/gpu_smoke.sh that need Python.

    python scripts/gpu_smoke.py prepare --recipe PATH FOLDER [OVERRIDE ...]  model, scorer, data; prints the overrides
    python scripts/gpu_smoke.py sample FILE                      memory of GPU and host, until it is ended
    python scripts/gpu_smoke.py compare --recipe PATH FOLDER OVERRIDE ...  step time, and memory against the plan
    python scripts/gpu_smoke.py beside FOLDER -- COMMAND         a command while vLLM generates on the same GPU

The model has random weights, except that embeddings and output head make it follow the script of a rehearsal, so that
its rollouts call tools and answer.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, TextIO

import psutil
import torch
from released_shapes import SHAPES, config_of
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedModel, ProcessorMixin

from verl_mapo import names
from verl_mapo.overrides import in_shell, path_override
from verl_mapo.planning import gpu, host
from verl_mapo.planning.arithmetic import GB
from verl_mapo.planning.make import composed, planned_run
from verl_mapo.planning.run import PlannedRun
from verl_mapo.rehearsal.changes import Parts, changes
from verl_mapo.rehearsal.command import policy_of
from verl_mapo.rehearsal.data import COUNTS, generated_rows
from verl_mapo.rehearsal.policy import LONGEST, RealModel, add_texts, find_model, follow
from verl_mapo.rehearsal.script import Script
from verl_mapo.run_folder import RunFolder
from verl_mapo.toy.tiny_vlm import generation_config, vision_token_ids

SIZES = ((2000, 1500), (1024, 768), (1600, 1200), (3000, 2000))
"""(width, height) of the pictures in pixels, as in the public training sets."""

STEPS = 2
PROMPTS_ON_A_CPU = 2

FAMILY, PIXELS = "qwen2_5_vl", (3_136, 12_845_056)

SCORER = f"{names.ALIGNMENT_NODE}.scorer"
_CACHE = re.compile(r"KV cache size: ([\d,]+) tokens")


def prepare(folder: Path, recipe: Path, shape: str, source: str, overrides: list[str]) -> list[str]:
    """Write model, scorer and data into a folder; returns the overrides of the run.

    Args:
        folder: where to write; what is there already is kept.
        recipe: a yaml file.
        shape: a key of :data:`SHAPES`; with ``tiny``, the overrides are those of a rehearsal on the CPU stack.
        source: folder of a released model whose tokenizer, processor and config.json are used; empty for none.
        overrides: hydra overrides of the user.
    """
    small = shape == "tiny"
    model, scorer = folder / "model", folder / "scorer"
    own = [
        path_override(names.MODEL_PATH, model),
        path_override(f"{SCORER}.model", scorer),
        f"{SCORER}.placement=actor",
        f"{SCORER}.device={'auto' if small else 'cuda'}",
        f"{names.TOTAL_STEPS}={STEPS}",
        f"trainer.total_epochs={STEPS}",
        f"trainer.save_freq={STEPS}",
        "trainer.val_before_train=false",
        "trainer.test_freq=-1",
        "records.share=1",
    ]
    config = composed(recipe, (["stack=cpu"] if small else []) + own + overrides, None)
    prompts = PROMPTS_ON_A_CPU if small else config.data.train_batch_size
    rows = generated_rows(folder / "data", False, sizes=SIZES, count=STEPS * prompts)
    own += [path_override(name, rows.file) for name in (names.TRAIN_FILES, names.VAL_FILES)]
    vocabulary = SHAPES[shape]["vocab_size"]
    real = find_model(source) if source else RealModel(shape, FAMILY, vocabulary, PIXELS)
    if not model.exists():
        write_model(model, shape, real, *policy_of(config, real, COUNTS))
    if not scorer.exists():
        write_scorer(scorer, "tiny, 56 px" if small else "ViT-B/32")
    if small:
        parts = Parts(model, scorer, rows.file, rows.about, vocabulary)
        config = composed(recipe, ["stack=cpu", *own, *overrides], None)
        overrides = [*overrides, *(change.override for change in changes(config, parts))]
    return [*own, *overrides]


def write_model(folder: Path, shape: str, real: RealModel, processor: ProcessorMixin, script: Script) -> None:
    """Write a model with random weights in bfloat16 whose rollouts follow a script.

    Args:
        folder: where to write.
        shape: a key of :data:`SHAPES`.
        real: the released model whose files are used; without a folder, the shape alone decides.
        processor: its processor, or the toy's; the texts of the script are added to the tokenizer.
        script: what the model says.
    """
    tokenizer = processor.tokenizer
    add_texts(tokenizer, script)
    tokenizer.model_max_length = LONGEST
    model = random_model(model_config(shape, real, tokenizer))
    follow(model, processor, script)
    model.generation_config = generation_config(tokenizer)
    part = folder.with_name(f"{folder.name}.part")
    model.save_pretrained(part)
    processor.save_pretrained(part)
    part.rename(folder)


def model_config(shape: str, real: RealModel, tokenizer: Any) -> Any:
    """The configuration of the model: of the released files where they are given, otherwise of the shape."""
    if real.folder is not None:
        return AutoConfig.from_pretrained(real.folder)
    config = config_of(shape, vocab_size=max(real.vocabulary, len(tokenizer)), **vision_token_ids(tokenizer))
    config.text_config.bos_token_id = config.text_config.pad_token_id = tokenizer.pad_token_id
    config.text_config.eos_token_id = tokenizer.eos_token_id
    return config


def random_model(config: Any) -> PreTrainedModel:
    """A model in bfloat16 with transformers' random weights, made on the GPU if there is one."""
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.device(device):
        return AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16).eval().cpu()


def write_scorer(folder: Path, shape: str) -> None:
    """Write a CLIP with random weights; weights do not change its time."""
    from bench_scoring import PLACED, random_clip

    random_clip(folder, **PLACED[shape])


def sample(file: Path) -> None:
    """Append memory in use to a file, four times a second: of the GPU, of the host, of /dev/shm; in bytes."""
    with file.open("w") as out:
        for used in _gpu_memory():
            memory = psutil.virtual_memory()
            row = [used, memory.total - memory.available, shutil.disk_usage("/dev/shm").used]
            print(json.dumps(row), file=out, flush=True)


def _gpu_memory() -> Iterator[int]:
    """Bytes in use on the first GPU, as nvidia-smi prints them; 0 without a GPU."""
    if not torch.cuda.is_available():
        while True:
            yield 0
            time.sleep(0.25)
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0]
    query = ["nvidia-smi", f"--id={first}", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "-lms", "250"]
    with subprocess.Popen(query, stdout=subprocess.PIPE, text=True) as process:
        yield from (int(line) * 2**20 for line in process.stdout)


@dataclass(frozen=True)
class Measured:
    """What a run took; sizes are in bytes, and None where they were not measured.

    Attributes:
        steps: metrics of each step.
        gpu: the most that was in use on the GPU.
        update: the most that torch allocated for training.
        host, shm: by how much the host's memory in use, and that of /dev/shm, grew.
        tokens: tokens in the KV cache.
        checkpoint: of the last one.
    """

    steps: Mapping[int, Mapping[str, float]]
    gpu: float | None
    update: float | None
    host: float | None
    shm: float | None
    tokens: int | None
    checkpoint: float | None

    @classmethod
    def of(cls, run: RunFolder, samples: Path) -> Measured:
        """Read a run folder and the file of :func:`sample`."""
        entries = map(json.loads, run.metrics[-1].read_text().splitlines())
        steps = {entry["step"]: entry["data"] for entry in entries if "timing_s/step" in entry["data"]}
        used = [json.loads(line) for line in samples.read_text().splitlines() if line.endswith("]")]
        gpu, memory, shm = ([row[place] for row in used] for place in range(3))
        found = _CACHE.findall(run.log.read_text(errors="replace"))
        files = [file for file in run.checkpoints.glob("*/actor/**/*") if file.is_file()]
        update = [step.get("actor/perf/max_memory_allocated_gb", 0) * 2**30 for step in steps.values()]
        on_gpu = max(gpu, default=0) > 0
        return cls(
            steps=steps,
            gpu=max(gpu) if on_gpu else None,
            update=max(update, default=None) if on_gpu else None,
            host=max(memory) - memory[0] if memory else None,
            shm=max(shm) - shm[0] if shm else None,
            tokens=int(found[-1].replace(",", "")) if found and on_gpu else None,
            checkpoint=sum(file.stat().st_size for file in files) if files else None,
        )


def against_plan(plan: PlannedRun, found: Measured) -> Iterator[str]:
    """The table of what was planned and what was measured, in markdown.

    The ratio is measured / planned: above 1, the plan says too little. Of a range, it is given for both ends.
    """
    engine, beside = gpu.generating(plan)
    update = gpu.in_update(plan)
    looks = plan.range_of_looks
    yield "| memory | planned | measured | measured / planned |"
    yield "|---|---|---|---|"
    yield _row("GPU, the most at any moment", (max(engine + beside, update),), found.gpu)
    yield _row("GPU in an update, at least", (update,), found.update)
    yield _row("KV cache of an engine, tokens", (gpu.kv_tokens(plan),), found.tokens, unit=1)
    yield _row("host and object store, growth", [host.of_node(plan, each) for each in looks], found.host)
    yield _row("images of requests, growth of /dev/shm", [host.requests(plan, each) for each in looks], found.shm)
    yield _row("a checkpoint", (host.checkpoint(plan),), found.checkpoint)


def _row(what: str, planned: Sequence[float], measured: float | None, unit: int = GB) -> str:
    def text(amount: float) -> str:
        return f"{amount:,.0f}" if unit == 1 else f"{amount / unit:.2f} GB"

    ends = list(dict.fromkeys(planned))
    cells = [what, " to ".join(map(text, ends))]
    if measured is None:
        return f"| {' | '.join([*cells, 'not measured', ''])} |"
    ratios = [f"{measured / end:.2f}" if end else "–" for end in ends]
    return f"| {' | '.join([*cells, text(measured), ' to '.join(ratios)])} |"


def step_times(found: Measured) -> Iterator[str]:
    """The table of the seconds of each step by part, in markdown."""
    from split import STEP

    numbers = sorted(found.steps)
    yield f"| seconds | {' | '.join(f'step {number}' for number in numbers)} |"
    yield f"|---|{'---|' * len(numbers)}"
    for name, title in {**STEP, "step": "**a step**"}.items():
        taken = [found.steps[number].get(f"timing_s/{name}", 0) for number in numbers]
        if any(taken):
            yield f"| {title} | {' | '.join(f'{seconds:.1f}' for seconds in taken)} |"
    tokens = [found.steps[number].get("perf/total_num_tokens", 0) for number in numbers]
    yield f"| tokens | {' | '.join(f'{count:,.0f}' for count in tokens)} |"


def beside(model: Path, share: float, command: Sequence[str], out: TextIO) -> int:
    """Run a command while vLLM generates on the same GPU; also prints vLLM's speed before and meanwhile.

    Args:
        model: folder of the model.
        share: vLLM's share of the GPU's memory.
        command: the command and its arguments.
        out: for what the command and this function print.
    """
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # nothing is left behind when this process ends
    from vllm import LLM, SamplingParams

    on_gpu = torch.cuda.is_available()
    engine = LLM(
        str(model),
        dtype="bfloat16" if on_gpu else "float32",
        gpu_memory_utilization=share,
        max_model_len=2048,
        limit_mm_per_prompt={"image": 0, "video": 0},
        enforce_eager=not on_gpu,
    )
    count, longest = (64, 256) if on_gpu else (2, 16)
    prompts = [{"prompt_token_ids": [index % 200] * 512} for index in range(count)]
    sampling = SamplingParams(max_tokens=longest, ignore_eos=True)

    def speed() -> float:
        start = time.perf_counter()
        engine.generate(prompts, sampling, use_tqdm=False)
        return count * longest / (time.perf_counter() - start)

    alone = [speed() for _ in range(4)][1:]
    process, meanwhile = subprocess.Popen(command, stdout=out), []
    while process.poll() is None:
        meanwhile.append(speed())
    print(f"\nvLLM beside it: {median(meanwhile):,.0f} tokens/s, and {median(alone):,.0f} alone.", file=out)
    return process.returncode


def run(asked: argparse.Namespace, out: TextIO) -> int:
    """Run one of the commands; returns its exit code."""
    if asked.command == "sample":
        sample(asked.file)
    if asked.command == "beside":
        return beside(asked.folder / "model", asked.share, asked.run, out)
    if asked.command == "prepare":
        made = prepare(asked.folder.resolve(), asked.recipe, asked.shape, asked.model, asked.overrides)
        print("\n".join(map(in_shell, made)), file=out)
    if asked.command == "compare":
        found = Measured.of(RunFolder(asked.folder / "run"), asked.folder / "memory.jsonl")
        plan = planned_run(asked.recipe, asked.overrides, gpu_memory=asked.gpu_memory)
        print("\n".join([*step_times(found), "", *against_plan(plan, found)]), file=out)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("prepare", "compare"):
        command = commands.add_parser(name)
        command.add_argument("--recipe", type=Path, required=True)
        command.add_argument("--gpu-memory", type=float, help="GB of a GPU, on a machine without one")
        command.add_argument("--shape", choices=SHAPES, default="3b")
        command.add_argument("--model", default="", help="folder of a released model, for its tokenizer and shape")
        command.add_argument("folder", type=Path)
        command.add_argument("overrides", nargs="*")
    commands.add_parser("sample").add_argument("file", type=Path)
    command = commands.add_parser("beside")
    command.add_argument("--share", type=float, default=0.6)
    command.add_argument("folder", type=Path)
    command.add_argument("run", nargs="+")
    asked = parser.parse_args()
    with os.fdopen(os.dup(1), "w") as out:
        os.dup2(2, 1)  # what libraries print goes to stderr
        return run(asked, out)


if __name__ == "__main__":
    sys.exit(main())
