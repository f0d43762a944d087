"""Front end and encoder of a trial's options, and their device and precision."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from raysearch.config import Options
from raysearch.methods.lookup import find_method
from raysearch.model.encoder import Encoder
from raysearch.model.frontend import LogMel, MelScale
from raysearch.training.conditions import has_effect


def best_device() -> torch.device:
    """Return the GPU of this process, or the CPU if it has none."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def processor() -> str:
    """Return the name of the GPU of this process, or `cpu` if it has none."""
    device = best_device()
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


@contextmanager
def full_precision() -> Iterator[None]:
    """Compute in full float32 in this block, on every device.

    By default PyTorch lets convolutions on a GPU round to TF32, which keeps 10 bits of 23. A
    program that lowers `torch.set_float32_matmul_precision` has matrix products rounded as well, on
    a CPU to bfloat16.
    """
    settings = _precision_settings()
    before = [setting.fp32_precision for setting in settings]
    try:
        for setting in settings:
            setting.fp32_precision = "ieee"
        yield
    finally:
        for setting, precision in zip(settings, before, strict=True):
            setting.fp32_precision = precision


def _precision_settings() -> tuple[Any, ...]:
    """Return the settings of the precision of float32, for products and convolutions."""
    backends: Any = torch.backends
    return (
        *(backends.cudnn.conv, backends.cuda.matmul),
        *(backends.mkldnn.conv, backends.mkldnn.matmul),
    )


def frontend(options: Options) -> LogMel:
    """Build the front end of some options."""
    return LogMel(
        rate=options.rate,
        n_fft=options.n_fft,
        hop=options.hop,
        scale=MelScale(options.n_mels, options.f_min, options.f_max),
        compression=options.compression,
    )


def new_encoder(options: Options, products: int, *, pretrained: bool | str) -> Encoder:
    """Build the network of the options' method, before training."""
    return find_method(options).network(products, pretrained=pretrained)


def check_network(options: Options) -> None:
    """Run front end and backbone on silence, so that wrong options show before a search.

    Raises:
        UserError: they do not fit together, or the backbone cannot be loaded.
    """
    from raysearch.model.backbone import check_backbone

    with torch.random.fork_rng(devices=[]):
        spectrograms = frontend(options)(torch.zeros(1, options.segment))
        if has_effect("backbone", options.model_dump()):
            check_backbone(options.backbone, options.pretrained, spectrograms)
