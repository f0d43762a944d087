"""What a trial holds, and how many run at once."""

import os
from dataclasses import dataclass

from raysearch.errors import UserError


@dataclass(frozen=True)
class Resources:
    """What one trial holds and how many run at once.

    Attributes:
        gpus: of a trial, a fraction to pack several on one GPU; None takes one where there are
            GPUs.
        cpus: of a trial; None divides the CPUs.
        concurrent: trials at once; None takes what fits.
    """

    gpus: float | None = None
    cpus: int | None = None
    concurrent: int | None = None


def check_gpus(resources: Resources) -> None:
    """Refuses GPUs that this machine does not have, before anything is started.

    Raises:
        UserError: more were asked for than there are.
    """
    if resources.gpus and not os.environ.get("RAY_ADDRESS"):
        import torch

        _refuse_gpus(resources.gpus, torch.cuda.device_count())


def _refuse_gpus(asked: float, there: float) -> None:
    if asked > there:
        have = "no GPU" if not there else f"{there:g} GPU" + ("" if there == 1 else "s")
        raise UserError(
            f"--gpus-per-trial {asked:g}: this machine has {have}; leave the flag out to train "
            "on what there is"
        )


def fit(resources: Resources, gpus_there: float, cpus_there: int) -> tuple[float, int, int]:
    """Fits a trial's resources to the cluster.

    Args:
        resources: asked for.
        gpus_there: GPUs of the cluster.
        cpus_there: CPUs of the cluster.

    Returns:
        GPUs and CPUs of a trial, trials at once.

    Raises:
        UserError: the cluster can never run such a trial.
    """
    gpus = resources.gpus if resources.gpus is not None else min(1.0, gpus_there)
    _refuse_gpus(gpus, gpus_there)
    if gpus > 1 and gpus != int(gpus):
        raise UserError(f"--gpus-per-trial {gpus:g}: more than one GPU must be a whole number")
    slots = cpus_there
    if gpus:
        # A trial's part of a GPU never spans two of them.
        slots = int(gpus_there // gpus) if gpus > 1 else int(gpus_there) * int(1 / gpus)
    wanted = min(slots, resources.concurrent or slots)
    cpus = resources.cpus or max(1, cpus_there // max(1, wanted))
    if cpus > cpus_there:
        raise UserError(f"--cpus-per-trial {cpus}: there are {cpus_there} CPUs here")
    return gpus, cpus, max(1, min(wanted, cpus_there // cpus))
