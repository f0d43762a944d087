"""Backbones: networks of timm without their classifier, for spectrograms of one channel.

Shape letters: B samples, M mel bands, F frames.
"""

from difflib import get_close_matches
from pathlib import Path

import torch
from torch import Tensor, nn

from raysearch.errors import UserError, one_line
from raysearch.model.eager import postpone_compiler

# Before timm, which imports torchvision, which imports the compiler.
postpone_compiler()

import timm  # noqa: E402


def new_backbone(name: str, pretrained: bool | str) -> nn.Module:
    """A network (B, 1, M, F) -> (B, `features`).

    Args:
        name: of a timm model.
        pretrained: True for timm's weights, False for random ones, a path for a file.

    Raises:
        UserError: timm knows no such model, or its weights cannot be had.
    """
    if not _known(name):
        near = _near(name)
        hint = f", for example {', '.join(near)}" if near else "; see timm.list_models()"
        raise UserError(f"backbone: timm has no model {name!r}{hint}")
    overlay = None
    if isinstance(pretrained, str):
        if not Path(pretrained).is_file():
            raise UserError(f"pretrained: there is no file {pretrained}")
        overlay = {"file": pretrained}
    generator = torch.get_rng_state()
    try:
        model: nn.Module = timm.create_model(
            name,
            pretrained=bool(pretrained),
            pretrained_cfg_overlay=overlay,
            in_chans=1,
            num_classes=0,
        )
    except Exception as error:
        if not pretrained:
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"pretrained: the weights of {name} cannot be loaded ({reason[:120]}); download them "
            "where there is a network and set `pretrained: FILE` in the space file, or "
            "`pretrained: false` to start from random weights"
        ) from error
    if overlay is not None and (random := _left_random(model, name, generator)):
        raise UserError(
            f"pretrained: {pretrained} does not hold the weights of {name} ({random} is missing)"
        )
    return model


def features(backbone: nn.Module) -> int:
    """How many pooled features a backbone gives."""
    # timm's name for what a model returns without its classifier; num_features may be fewer.
    return int(backbone.head_hidden_size)  # type: ignore[arg-type]


def check_backbone(backbone: str, pretrained: bool | str, spectrograms: Tensor) -> None:
    """Loads and uses a backbone once, so that what is wrong with it shows before a search.

    Args:
        backbone: as `new_backbone`.
        pretrained: as `new_backbone`.
        spectrograms: (B, 1, M, F) as the search will make them.

    Raises:
        UserError: as `new_backbone`; the backbone does not take such spectrograms.
    """
    model = new_backbone(backbone, pretrained).eval()
    try:
        with torch.inference_mode():
            model(spectrograms)
    except Exception as error:
        reason = one_line(error)[:120]
        raise UserError(
            f"backbone: {backbone} does not take spectrograms of {spectrograms.shape[2]} bands and "
            f"{spectrograms.shape[3]} frames ({reason}); choose one that takes any size, such as "
            "an efficientnet"
        ) from error


def _known(name: str) -> bool:
    # timm looks at the tag only when it builds the model, and then blames the weights.
    return timm.is_model(name) and ("." not in name or name in _tagged(name))


def _near(name: str) -> list[str]:
    architecture = name.partition(".")[0]
    names = _tagged(name) if timm.is_model(architecture) else timm.list_models()
    within = [known for known in names if architecture and architecture in known]
    return (within or get_close_matches(architecture, names))[:3]


def _tagged(name: str) -> list[str]:
    return timm.list_models(f"{name.partition('.')[0]}.*", include_tags=True)


def _left_random(model: nn.Module, name: str, generator: Tensor) -> str:
    """The first weight that is as it was drawn, empty if all were loaded."""
    # timm loads what fits and leaves the rest, be it everything, without a word to its caller.
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(generator)
        drawn = timm.create_model(name, in_chans=1, num_classes=0).state_dict()
    weights = ((key, value) for key, value in model.named_parameters() if value.ndim > 1)
    return next((key for key, value in weights if torch.equal(value, drawn[key])), "")
