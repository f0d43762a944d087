import pytest
import timm

from raysearch.model.names import is_written


@pytest.mark.parametrize(
    "name",
    [
        "tf_efficientnet_b0.ns_jft_in1k",
        "tf_efficientnet_b0",
        "test_efficientnet",
        "resnet18.a1_in1k",
        "mobilenetv3_small_050",
    ],
)
def test_models_of_timm_are_found(name: str) -> None:
    assert timm.is_model(name)
    assert is_written(name)


@pytest.mark.parametrize(
    "name",
    ["", "efficientnet", "tf_efficientnet_b0.nonsense", "resnet18.ns_jft_in1k", "a(b", "../x"],
)
def test_what_timm_does_not_have_is_not_found(name: str) -> None:
    assert not is_written(name)
