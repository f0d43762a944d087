"""Sizes of gpu_check.py, synthetic recordings, and facts about the machine."""

import os
import platform
import subprocess
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from upath import UPath

from raysearch.config import Options
from raysearch.data.batches import batch_count
from raysearch.data.dataset import TrialData, open_data
from raysearch.data.source import make_source
from raysearch.data.synthetic.demo import DemoSize, write_demo
from raysearch.scoring.spec import InlierSpec
from raysearch.study.searched import Search
from raysearch.study.space import Space
from raysearch.training.configuration import Configuration, TrialConfig

MACHINE, OTHERS, VALIDATION_IDS = "valve", ("fan", "pump"), ("0", "1", "2")

Precision = Literal["bf16", "fp32"]
PRECISIONS: tuple[Precision, ...] = ("bf16", "fp32")

LR, LAM = 1e-3, 1.0


@dataclass(frozen=True)
class Plan:
    """Sizes of everything that is measured.

    Attributes:
        options: of all trainings, but for epochs and precision.
        batch_sizes: of the trainings; the first also of resume and packing.
        precision: of resume and packing.
        threads: of PyTorch on the CPU; None leaves them as they are.
        train_clips: source-domain training clips an ID, of three machine types with six IDs.
        test_clips: test clips of the target machine type, an ID and label.
        clip_seconds: length of a clip in s.
        epochs: of the trainings whose losses and scores are compared.
        resume_epochs: of the trainings that are interrupted after the first epoch.
        packed: trials on the GPU at once.
        packed_epochs: of each of these trials; the first epoch warms up.
        step_seconds: time for which the bare step is repeated.
        points: largest difference of val_score between the precisions, in points.
        limits: of each section, as a share of `total`.
        total: seconds of all sections.
    """

    options: Options
    batch_sizes: tuple[int, ...]
    precision: Precision
    threads: int | None
    train_clips: int
    test_clips: int
    clip_seconds: float
    epochs: int
    resume_epochs: int
    packed: tuple[int, ...]
    packed_epochs: int
    step_seconds: float
    points: float
    limits: dict[str, float]
    total: float
    inliers: tuple[InlierSpec, ...] = (
        InlierSpec("gmm", 1),
        InlierSpec("gmm", 2),
        InlierSpec("lof", 4),
        InlierSpec("lof", 8),
    )

    def config(
        self, data: TrialData, batch_size: int, precision: Precision, epochs: int, seed: int = 0
    ) -> TrialConfig:
        """Return the configuration of one training."""
        return TrialConfig(
            machine=data.machine,
            data=data.fingerprint,
            configuration=configuration(batch_size),
            seed=seed,
            options=self.options.model_copy(update={"precision": precision, "epochs": epochs}),
        )

    def space(self, precision: Precision) -> Space:
        """Return the space of the trainings whose scores are compared."""
        inliers: dict[str, list[float | None]] = {}
        for spec in self.inliers:
            inliers.setdefault(spec.name, []).append(spec.p)
        search = {"lr": LR, "batch_size": list(self.batch_sizes), "lambda": LAM, "inlier": inliers}
        changes = {"precision": precision, "epochs": self.epochs}
        return Space(
            validation_ids=VALIDATION_IDS,
            search=Search.model_validate(search),
            fixed=self.options.model_copy(update=changes),
        )

    def facts(self) -> dict[str, Any]:
        """Return the plan as JSON facts."""
        return asdict(self) | {"options": self.options.model_dump()}


def configuration(batch_size: int) -> Configuration:
    """Return the hyperparameters of all trainings of a batch size."""
    return Configuration(LR, batch_size, LAM)


FULL = Plan(
    options=Options(pretrained=False),
    batch_sizes=(32, 128),
    precision="bf16",
    threads=None,
    train_clips=120,
    test_clips=20,
    clip_seconds=3.0,
    epochs=6,
    resume_epochs=2,
    packed=(1, 2, 4),
    packed_epochs=4,
    step_seconds=2.0,
    points=15.0,
    limits={"training": 0.45, "speed": 0.2, "scores": 0.15, "resume": 0.2, "packing": 0.35},
    total=285,
)

TINY = Plan(
    options=Options(backbone="test_efficientnet", pretrained=False, n_fft=512, hop=512, n_mels=32),
    batch_sizes=(16,),
    # bf16 is slow on most CPUs, and so are more threads than idle cores.
    precision="fp32",
    threads=1,
    train_clips=6,
    test_clips=3,
    clip_seconds=2.5,
    epochs=2,
    resume_epochs=2,
    packed=(1, 2),
    packed_epochs=2,
    step_seconds=0.1,
    points=100.0,
    limits=dict.fromkeys(("training", "speed", "scores", "resume", "packing"), 0.5),
    total=3000,
)


def write_recordings(plan: Plan, root: Path) -> int:
    """Write the synthetic recordings of a plan; return the number of clips."""
    target = DemoSize(plan.train_clips, plan.test_clips, plan.clip_seconds)
    others = replace(target, test_clips=1)
    count = write_demo(root, target, machines=(MACHINE,))
    return count + write_demo(root, others, machines=OTHERS)


def open_recordings(plan: Plan, root: Path) -> TrialData:
    """Open the recordings that `write_recordings` wrote."""
    return open_data(make_source(UPath(root), MACHINE, VALIDATION_IDS, plan.options))


def clips_and_steps(config: TrialConfig, data: TrialData) -> tuple[int, int]:
    """Return the training samples and the steps of an epoch."""
    target, _ = data.target_parts(config.options.validation_share, config.seed)
    return 2 * target.clips.size, batch_count(target.clips.size, config.batch_size)


def machine() -> dict[str, Any]:
    """Return the facts about the machine on which the figures depend."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    total = torch.cuda.mem_get_info()[1] / 2**20 if torch.cuda.is_available() else None
    return {
        "gpu": gpu,
        "gpu_memory_mib": total,
        "driver": _driver() if gpu else None,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        "torch": torch.__version__,
        "python": platform.python_version(),
        "cpu_cores": len(os.sched_getaffinity(0)),
        "torch_threads": torch.get_num_threads(),
    }


def machine_line(facts: dict[str, Any]) -> str:
    """Return the machine in one line."""
    device = facts["gpu"] or "no GPU: checks run on the CPU"
    driver = f", driver {facts['driver']}" if facts["driver"] else ""
    return (
        f"{device}{driver}; torch {facts['torch']}, CUDA {facts['cuda']}, "
        f"{facts['cpu_cores']} CPU cores"
    )


def _driver() -> str | None:
    call = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(call, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return next(iter(done.stdout.splitlines()), None)
