"""Backbones: where their weights come from, and what is refused."""

from pathlib import Path

import huggingface_hub.constants
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from raysearch.errors import UserError
from raysearch.model.backbone import check_backbone


def spectrograms(bands: int = 32, frames: int = 63) -> Tensor:
    return torch.randn(3, 1, bands, frames, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing cached and no hub; as HF_HUB_OFFLINE=1, which is read when it is imported."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))


@pytest.mark.usefixtures("_offline")
def test_a_hub_out_of_reach_is_one_line_with_the_way_out() -> None:
    with pytest.raises(UserError) as caught:
        check_backbone("test_efficientnet", True, spectrograms())
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("pretrained: the weights of test_efficientnet cannot be loaded (")
    assert "pretrained: FILE" in message
    assert "pretrained: false" in message


def test_a_missing_file_of_weights_is_one_line(tmp_path: Path) -> None:
    path = str(tmp_path / "none.safetensors")
    with pytest.raises(UserError) as caught:
        check_backbone("test_resnet", path, spectrograms())
    assert str(caught.value) == f"pretrained: there is no file {path}"


def test_damaged_or_foreign_weights_are_one_line(tmp_path: Path) -> None:
    damaged, foreign = tmp_path / "damaged.safetensors", tmp_path / "foreign.safetensors"
    partial = tmp_path / "partial.safetensors"
    damaged.write_bytes(b"no weights")
    save_file({"something": torch.zeros(3)}, foreign)
    whole = timm.create_model("test_resnet", pretrained=False).state_dict()
    save_file({k: v for k, v in whole.items() if not k.startswith("layer3")}, partial)
    for path in (damaged, foreign, partial):
        with pytest.raises(UserError) as caught:
            check_backbone("test_resnet", str(path), spectrograms())
        message = str(caught.value)
        assert message.startswith("pretrained: ")
        assert "test_resnet" in message
        assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("mobilenetv3_smal_050", "mobilenetv3_small_050"),
        ("mobilenet_v3_small", "mobilenetv3_small_100"),
        ("eficientnet_b0", "efficientnet_b0"),
        ("test_resne", "test_resnet"),
        ("mobilenetv3_small_050.lamb", "mobilenetv3_small_050.lamb_in1k"),
        ("", "see timm.list_models()"),
        ("zzz", "see timm.list_models()"),
    ],
)
@pytest.mark.parametrize("pretrained", [True, False])
def test_an_unknown_backbone_is_answered_with_near_names(
    name: str, near: str, pretrained: bool
) -> None:
    with pytest.raises(UserError) as caught:
        check_backbone(name, pretrained, spectrograms())
    message = str(caught.value)
    assert message.startswith(f"backbone: timm has no model {name!r}")
    assert near in message
    assert "\n" not in message


def test_a_backbone_of_one_size_is_refused_for_another() -> None:
    with pytest.raises(UserError) as caught:
        check_backbone("test_vit", False, spectrograms(bands=32, frames=63))
    message = str(caught.value)
    assert message.startswith("backbone: test_vit does not take spectrograms of 32 bands and 63 fr")
    assert "\n" not in message
    check_backbone("test_vit", False, spectrograms(bands=160, frames=160))
