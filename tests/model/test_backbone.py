"""Backbones: where their weights come from, and what is refused."""

from pathlib import Path

import huggingface_hub.constants
import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models import save_for_hf
from torch import Tensor, nn

from raysearch.errors import UserError
from raysearch.model.backbone import check_backbone, features, new_backbone


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


@pytest.mark.parametrize(("bands", "frames"), [(160, 160), (32, 63), (64, 47)])
def test_a_transformer_takes_spectrograms_of_any_size(bands: int, frames: int) -> None:
    check_backbone("test_vit", False, spectrograms(bands=bands, frames=frames))


@pytest.mark.parametrize("name", ["efficientvit_m0", "test_resnet", "test_vit"])
def test_networks_of_every_kind_of_patch_are_fitted(name: str) -> None:
    check_backbone(name, False, spectrograms(bands=64, frames=63))


def test_a_network_that_cannot_be_resized_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **sizes: object) -> None:
        raise ValueError("no such size\nat all")

    monkeypatch.setattr("timm.models.vision_transformer.VisionTransformer.set_input_size", refuse)
    with pytest.raises(UserError, match=r"^backbone: test_vit does not take spectrograms") as e:
        check_backbone("test_vit", False, spectrograms())
    assert "\n" not in str(e.value)


@pytest.fixture
def transformer(tmp_path: Path) -> Path:
    """Save an audio transformer as a hub has it: 128 frames of 32 mel bands."""
    torch.manual_seed(0)
    model = timm.create_model("test_vit", in_chans=1, num_classes=3, img_size=(128, 32))
    arguments = {"img_size": [128, 32], "in_chans": 1, "num_classes": 3}
    config = {"input_size": [1, 128, 32], "num_classes": 3}
    folder = tmp_path / "transformer"
    save_for_hf(model, str(folder), {"pretrained_cfg": config}, arguments, safe_serialization=True)
    return folder


def test_a_transformer_of_a_folder_hears_frames_first(transformer: Path) -> None:
    network = new_backbone(f"local-dir:{transformer}", True, (32, 128)).eval()
    saved = timm.create_model(f"local-dir:{transformer}", pretrained=True, num_classes=0).eval()
    batch = torch.randn(2, 1, 32, 128)
    with torch.inference_mode():
        torch.testing.assert_close(network(batch), saved(batch.transpose(2, 3)))
    assert features(network) == network(batch).shape[1]


def test_its_positions_are_interpolated_for_shorter_segments(transformer: Path) -> None:
    network = new_backbone(f"local-dir:{transformer}", True, (32, 63)).eval()
    with torch.inference_mode():
        assert torch.isfinite(network(torch.randn(2, 1, 32, 63))).all()


@pytest.mark.parametrize("pretrained", [True, False])
def test_a_folder_without_a_network_is_refused(tmp_path: Path, pretrained: bool) -> None:
    with pytest.raises(UserError, match=r"^backbone: local-dir:.*/nothing cannot be loaded") as e:
        check_backbone(f"local-dir:{tmp_path}/nothing", pretrained, spectrograms())
    assert "\n" not in str(e.value)


def test_no_activation_writes_over_what_its_gradient_needs() -> None:
    kinds = (nn.SiLU, nn.Hardswish, nn.Mish)
    network = new_backbone("efficientnet_b0", False, (32, 63))
    activations = [module for module in network.modules() if isinstance(module, kinds)]
    assert activations
    assert not any(module.inplace for module in activations)
