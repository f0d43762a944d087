"""Backbones: networks of timm without their classifier, for spectrograms of one channel.

Shape letters: B samples, M mel bands, F frames.
"""

import json
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from raysearch.errors import UserError, one_line
from raysearch.model.eager import postpone_compiler
from raysearch.model.names import is_on_hub

# Before timm, which imports torchvision and with it the compiler.
postpone_compiler()

import timm  # noqa: E402
from huggingface_hub import hf_hub_download  # noqa: E402

Size = tuple[int, int]
"""Mel bands and frames of a spectrogram."""


class FixedSize(nn.Module):
    """A network of a fixed input size, fitted to spectrograms of another size."""

    def __init__(self, network: nn.Module, size: Size) -> None:
        """Set the network's size, and interpolate its positions.

        Args:
            network: of timm, with `set_input_size`.
            size: of the spectrograms, (M, F).
        """
        super().__init__()
        self.network = network
        self.head_hidden_size = features(network)
        config: Any = network.pretrained_cfg
        _, height, width = config["input_size"]
        # As audio transformers have it.
        self.is_turned = width == size[0] and height != size[0]
        height, width = size[::-1] if self.is_turned else size
        patches: Any = getattr(network, "patch_embed", None)
        edges = getattr(patches, "patch_size", 1)
        patch = edges if isinstance(edges, tuple) else (edges, edges)
        self.padding = (-width % patch[1], -height % patch[0])
        resize: Any = network.set_input_size
        resize(img_size=(height + self.padding[1], width + self.padding[0]))

    def forward(self, spectrograms: Tensor) -> Tensor:
        """Return the features of spectrograms (B, 1, M, F)."""
        images = spectrograms.transpose(2, 3) if self.is_turned else spectrograms
        right, below = self.padding
        # Patches are whole, so the last column and row are repeated.
        values: Tensor = self.network(functional.pad(images, (0, right, 0, below), "replicate"))
        return values


def new_backbone(name: str, pretrained: bool | str, size: Size) -> nn.Module:
    """Build a network of timm, (B, 1, M, F) -> (B, `features`).

    A network of a fixed input size is fitted to the spectrograms, see `FixedSize`. If its input is
    as wide as they have bands, the frames come first.

    Args:
        name: of a timm model; `hf-hub:...` for a model of a hub, `local-dir:...` of a folder.
        pretrained: True for the model's weights, False for random ones, a path for a file.
        size: of the spectrograms, (M, F).

    Raises:
        UserError: there is no such model, or its weights cannot be loaded.
    """
    if not is_on_hub(name) and not _exists(name):
        similar = _similar_names(name)
        hint = f", for example {', '.join(similar)}" if similar else "; see timm.list_models()"
        raise UserError(f"backbone: timm has no model {name!r}{hint}")
    overlay = None
    if isinstance(pretrained, str):
        if not Path(pretrained).is_file():
            raise UserError(f"pretrained: there is no file {pretrained}")
        overlay = {"file": pretrained}
    rng_state = torch.get_rng_state()
    try:
        model: nn.Module = timm.create_model(
            name,
            pretrained=bool(pretrained),
            pretrained_cfg_overlay=overlay,
            in_chans=1,
            num_classes=0,
        )
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if is_on_hub(name):
            raise UserError(f"backbone: {name} cannot be loaded ({reason[:200]})") from error
        if not pretrained:
            raise
        raise UserError(
            f"pretrained: the weights of {name} cannot be loaded ({reason[:120]}); download them "
            "where there is a network and set `pretrained: FILE` in the space file, or "
            "`pretrained: false` to start from random weights"
        ) from error
    if overlay is not None and (missing := _unloaded_weight(model, name, rng_state)):
        raise UserError(
            f"pretrained: {pretrained} does not hold the weights of {name} ({missing} is missing)"
        )
    _keep_inputs(model)
    if not hasattr(model, "set_input_size"):
        return model
    try:
        return FixedSize(model, size)
    except Exception as error:
        raise _size_error(name, size, error) from error


def _keep_inputs(model: nn.Module) -> None:
    """Let activations whose gradient needs their input not write over it: torch would copy it."""
    for module in model.modules():
        if isinstance(module, nn.SiLU | nn.Hardswish | nn.Mish):
            module.inplace = False


def _size_error(name: str, size: Size, error: Exception) -> UserError:
    return UserError(
        f"backbone: {name} does not take spectrograms of {size[0]} bands and {size[1]} frames "
        f"({one_line(error)[:120]}); choose one that takes any size, such as an efficientnet"
    )


def read_architecture(name: str) -> dict[str, Any] | None:
    """Return the config.json of a network on a hub or in a folder; None for timm's own."""
    if not is_on_hub(name):
        return None
    source, _, model = name.partition(":")
    if source == "local-dir":
        path = Path(model) / "config.json"
    else:
        repository, _, revision = model.partition("@")
        path = Path(hf_hub_download(repository, "config.json", revision=revision or None))
    content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return content


def features(backbone: nn.Module) -> int:
    """Return the number of pooled features of a backbone."""
    # Size of the output of a model without its classifier; num_features may be smaller.
    return int(backbone.head_hidden_size)  # type: ignore[arg-type]


def check_backbone(backbone: str, pretrained: bool | str, spectrograms: Tensor) -> None:
    """Load a backbone and run it once, so that its errors show before a search.

    Args:
        backbone: as `new_backbone`.
        pretrained: as `new_backbone`.
        spectrograms: (B, 1, M, F) as the search will make them.

    Raises:
        UserError: as `new_backbone`; the backbone does not take such spectrograms.
    """
    size = spectrograms.shape[2], spectrograms.shape[3]
    model = new_backbone(backbone, pretrained, size).eval()
    try:
        with torch.inference_mode():
            model(spectrograms)
    except Exception as error:
        raise _size_error(backbone, size, error) from error


def _exists(name: str) -> bool:
    # timm checks the tag only when it builds the model, and then reports missing weights.
    return timm.is_model(name) and ("." not in name or name in _tagged_names(name))


def _similar_names(name: str) -> list[str]:
    architecture = name.partition(".")[0]
    names = _tagged_names(name) if timm.is_model(architecture) else timm.list_models()
    containing = [name for name in names if architecture and architecture in name]
    return (containing or get_close_matches(architecture, names))[:3]


def _tagged_names(name: str) -> list[str]:
    return timm.list_models(f"{name.partition('.')[0]}.*", include_tags=True)


def _unloaded_weight(model: nn.Module, name: str, rng_state: Tensor) -> str:
    """Return the name of the first weight that is still random, empty if all were loaded."""
    # timm loads the weights that fit and silently leaves all others random.
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(rng_state)
        initial = timm.create_model(name, in_chans=1, num_classes=0).state_dict()
    weights = ((key, value) for key, value in model.named_parameters() if value.ndim > 1)
    return next((key for key, value in weights if torch.equal(value, initial[key])), "")
