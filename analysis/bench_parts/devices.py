"""Parts of a GPU: model FLOP use, and trials at once."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch
from bench_parts.duel import CannotRunError, in_turns
from bench_parts.plan import Bench
from bench_parts.rows import Figure, Row, left_out
from bench_parts.training import raysearch_training
from gpu import packing
from gpu.outcome import Section
from gpu.plan import Plan
from torch.utils.flop_counter import FlopCounterMode

from raysearch.config import Options
from raysearch.training.network import frontend, new_encoder

PEAKS = {"NVIDIA H100 80GB HBM3": 989e12, "NVIDIA H200": 989e12}
"""Name of a GPU -> its dense bf16 FLOP/s, by its data sheet."""

PASSES = 3
"""Multiple of the forward pass's FLOPs that a training step counts: the backward pass has two."""


def check_gpu() -> None:
    """Refuse to measure a GPU where there is none.

    Raises:
        CannotRunError: no GPU, or --gpu was left out.
    """
    if not torch.cuda.is_available():
        raise CannotRunError("needs a GPU, and --gpu")


def flop_use(bench: Bench, batch_size: int) -> Iterator[Figure]:
    """Measure the FLOPs of trainings on a constant batch, as a share of the GPU's peak."""
    check_gpu()
    name = torch.cuda.get_device_name()
    if name not in PEAKS:
        raise CannotRunError(f"the peak of {name} is not in PEAKS")
    flops = PASSES * forward_flops(bench.options)
    train = raysearch_training(bench, batch_size, bench.plan.steps)
    [seconds] = in_turns([train], bench.plan.repeats)
    rate = bench.plan.steps * batch_size / median(seconds)
    remark = f"{flops / 1e9:.2f} GFLOP a clip, {rate:.0f} clips/s on a constant batch"
    yield Figure(
        f"model FLOP use, batch {batch_size}", "of dense bf16", flops * rate / PEAKS[name], None,
        remark,
    )  # fmt: skip


def forward_flops(options: Options) -> float:
    """Count the FLOPs of the encoder's forward pass for one clip.

    PyTorch's counter multiplies those of a depthwise convolution's gradient by its channels, so
    the backward pass is not counted but taken as twice the forward pass.
    """
    encoder = new_encoder(options, 6, pretrained=False).eval()
    spectrograms = frontend(options)(torch.zeros(1, options.segment))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        encoder.embed(spectrograms)
    return float(counter.get_total_flops())


def packed(bench: Bench, batch_size: int) -> Iterator[Figure | Row]:
    """Measure trials at once on the GPU."""
    check_gpu()
    section = Section()
    plan: Plan = replace(bench.plan.sizes, batch_sizes=(batch_size,), options=bench.options)
    folder = bench.folder / f"packing-{batch_size}"
    packing.fill(section, plan, bench.folder / "data", folder)
    yield from packing_figures(section, batch_size)


def packing_figures(section: Section, batch_size: int) -> Iterator[Figure | Row]:
    """Yield the rows of packing.py as figures, or as left out where trials failed."""
    mps = "MPS on" if has_mps() else "MPS off"
    for row in section.tables.get(packing.TITLE, []):
        name = f"packing, batch {batch_size}, {row['trials']} at once"
        if row["clips_per_s"] is None:
            yield left_out(name, row["error"])
        else:
            gain = f"{row['speed_up']:.2f} times one; " if row["speed_up"] else ""
            yield Figure(name, "clips/s", row["clips_per_s"], None, f"{gain}{mps}")


def has_mps() -> bool:
    """Return True if this machine's Multi-Process Service of CUDA runs."""
    folder = os.environ.get("CUDA_MPS_PIPE_DIRECTORY", "/tmp/nvidia-mps")
    return (Path(folder) / "control").exists()


def precisions(bench: Bench) -> Iterator[Figure]:
    """Name the program that compares precisions.

    Raises:
        CannotRunError: always.
    """
    raise CannotRunError("val_score of bf16 and fp32: gpu_check.py compares them, in `training`")
    yield
