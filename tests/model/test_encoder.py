"""The encoder: any backbone, its neck and heads, and where its weights come from."""

from pathlib import Path

import huggingface_hub.constants
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from raysearch.errors import UserError
from raysearch.model.encoder import Encoder, check_backbone

K, D = 5, 12


def encoder(backbone: str = "test_resnet", pretrained: bool | str = False, **options) -> Encoder:
    torch.manual_seed(0)
    return Encoder(
        backbone=backbone, pretrained=pretrained, products=K, embedding=D, **options
    ).eval()


def spectrograms(batch: int = 3, bands: int = 32, frames: int = 63) -> Tensor:
    return torch.randn(batch, 1, bands, frames, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    "backbone",
    [
        "mobilenetv3_small_050",  # a convolution after pooling: 288 features become 1024
        "test_efficientnet",
        "test_resnet",
        "test_convnext",
        "test_mambaout",  # a head with a hidden layer of its own
    ],
)
def test_any_family_of_backbones_fits(backbone: str):
    model = encoder(backbone)
    embeddings = model.embed(spectrograms())
    product, machine = model(spectrograms())
    assert embeddings.shape == (3, D)
    assert embeddings.dtype == torch.float32
    assert product.shape == (3, K)
    assert machine.shape == (3,)
    (product.sum() + machine.sum()).backward()
    first = next(p for p in model.backbone.parameters() if p.ndim == 4)
    assert first.shape[1] == 1  # one channel
    assert first.grad is not None
    assert first.grad.abs().sum() > 0


def test_the_default_backbone_is_known_and_its_neck_is_that_of_the_recipes():
    model = Encoder(backbone="tf_efficientnet_b0.ns_jft_in1k", pretrained=False, products=K)
    dropout, first, norm, activation, second = model.neck
    assert isinstance(dropout, nn.Dropout)
    assert dropout.p == 0.3
    assert (first.in_features, first.out_features) == (1280, 128)
    assert isinstance(norm, nn.BatchNorm1d)
    assert isinstance(activation, nn.PReLU)
    assert (second.in_features, second.out_features) == (128, 128)


@pytest.mark.parametrize(("divide", "divisor"), [(True, D), (False, 1)])
def test_the_machine_head_is_affine_in_the_squared_norm(divide: bool, divisor: int):
    model = encoder(divide_norm=divide)
    embeddings = torch.randn(7, D)
    a, b = model.machine_head.weight.item(), model.machine_head.bias.item()
    _, logits = model.heads(embeddings)
    expected = a * (embeddings**2).sum(dim=1) / divisor + b
    torch.testing.assert_close(logits, expected)


def test_the_product_head_is_linear_and_has_no_bias():
    model = encoder()
    assert model.product_head.bias is None
    embeddings = torch.randn(7, D)
    logits, _ = model.heads(embeddings)
    torch.testing.assert_close(logits, embeddings @ model.product_head.weight.T)
    zero, _ = model.heads(torch.zeros(1, D))
    assert not zero.any()


def test_the_squared_norm_of_a_large_embedding_is_finite_in_half_precision():
    model = encoder(divide_norm=False)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.inference_mode():
        embeddings = model.embed(spectrograms())
        _, logits = model.heads(300 * torch.ones(2, D))
    assert embeddings.dtype == torch.float32
    a, b = model.machine_head.weight.item(), model.machine_head.bias.item()
    torch.testing.assert_close(logits, torch.full((2,), a * 90000 * D + b))


def test_in_evaluation_an_embedding_does_not_depend_on_its_batch():
    model, batch = encoder(), spectrograms()
    with torch.inference_mode():
        together = model.embed(batch)
        alone = torch.cat([model.embed(row[None]) for row in batch])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_weights_come_from_a_file(tmp_path: Path):
    torch.manual_seed(3)
    source = timm.create_model("test_resnet", pretrained=False)  # three channels, a classifier
    path = tmp_path / "weights.safetensors"
    save_file(source.state_dict(), path)
    loaded = encoder(pretrained=str(path)).backbone.state_dict()
    given = source.state_dict()
    convolutions = [k for k, v in loaded.items() if v.shape != given[k].shape]
    assert len(convolutions) == 1  # the first, whose three channels are added up
    (stem,) = convolutions
    torch.testing.assert_close(loaded[stem], given[stem].sum(dim=1, keepdim=True))
    assert all(torch.equal(v, given[k]) for k, v in loaded.items() if k != stem)
    random = encoder(pretrained=False).backbone.state_dict()
    assert not torch.equal(random[stem], loaded[stem])


@pytest.fixture
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Nothing cached and no hub; as HF_HUB_OFFLINE=1, which is read when it is imported."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))


@pytest.mark.usefixtures("_offline")
def test_a_hub_out_of_reach_is_one_line_with_the_way_out():
    with pytest.raises(UserError) as caught:
        check_backbone("test_efficientnet", True, spectrograms())
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("pretrained: the weights of test_efficientnet cannot be loaded (")
    assert "pretrained: FILE" in message
    assert "pretrained: false" in message


def test_a_missing_file_of_weights_is_one_line(tmp_path: Path):
    path = str(tmp_path / "none.safetensors")
    with pytest.raises(UserError) as caught:
        check_backbone("test_resnet", path, spectrograms())
    assert str(caught.value) == f"pretrained: there is no file {path}"


def test_damaged_or_foreign_weights_are_one_line(tmp_path: Path):
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
def test_an_unknown_backbone_is_answered_with_near_names(name: str, near: str, pretrained: bool):
    with pytest.raises(UserError) as caught:
        check_backbone(name, pretrained, spectrograms())
    message = str(caught.value)
    assert message.startswith(f"backbone: timm has no model {name!r}")
    assert near in message
    assert "\n" not in message


def test_a_backbone_of_one_size_is_refused_for_another():
    with pytest.raises(UserError) as caught:
        check_backbone("test_vit", False, spectrograms(bands=32, frames=63))
    message = str(caught.value)
    assert message.startswith("backbone: test_vit does not take spectrograms of 32 bands and 63 fr")
    assert "\n" not in message
    check_backbone("test_vit", False, spectrograms(bands=160, frames=160))
