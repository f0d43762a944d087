"""Checkpoints: all of it comes back, a torn one never appears, a damaged one is named."""

import json
import resource
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn
from upath import UPath

from raysearch import storage
from raysearch.errors import UserError
from raysearch.training.checkpoint import load, optimiser_tensors, restore_optimiser, save
from raysearch.training.state import read_facts
from tests.files import put_checkpoint

TENSORS = {
    "float": torch.tensor([0.1, -float("inf"), float("nan")]),
    "double": torch.tensor([[1 / 3, 2.0]], dtype=torch.float64),
    "half": torch.tensor([1.5], dtype=torch.bfloat16),
    "bytes": torch.arange(256, dtype=torch.uint8),  # the state of a generator
    "count": torch.tensor(7),
    "none": torch.zeros(0, 3),
}
FACTS = {"epoch": 3, "best": 0.1 + 0.2, "name": "λ", "history": [{"lr": 1e-300}], "none": None}


def test_tensors_and_facts_come_back_to_the_bit(folder: UPath) -> None:
    path = folder / "last.safetensors"
    put_checkpoint(path, TENSORS, FACTS)
    tensors, facts = load(path)
    assert facts == FACTS
    assert read_facts(path) == FACTS
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype
        torch.testing.assert_close(tensors[name], tensor, rtol=0, atol=0, equal_nan=True)


def test_any_memory_layout_can_be_saved(tmp_path: Path) -> None:
    weights = torch.randn(4, 3, 5, 5).to(memory_format=torch.channels_last)
    tensors = {"weights": weights, "part": torch.arange(10.0)[::2], "turned": torch.ones(2, 3).T}
    save(tmp_path / "a", tensors, {})
    loaded, _ = load(tmp_path / "a")
    for name, tensor in tensors.items():
        assert torch.equal(loaded[name], tensor)


def test_a_file_is_replaced_whole_and_nothing_stays_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    for epoch in (1, 2):
        save(path, {"a": torch.full((3,), float(epoch))}, {"epoch": epoch})
    tensors, facts = load(path)
    assert (tensors["a"].tolist(), facts) == ([2.0, 2.0, 2.0], {"epoch": 2})
    assert list(tmp_path.iterdir()) == [path]


def test_a_save_that_fails_leaves_the_last_one(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    save(path, {"a": torch.ones(3)}, {"epoch": 1})
    with pytest.raises(TypeError):
        save(path, {"a": torch.zeros(3)}, {"epoch": {1, 2}})
    assert load(path)[1] == {"epoch": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_the_last_one(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    save(path, {"a": torch.ones(3)}, {"epoch": 1})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))  # a file may be no longer
    try:
        with pytest.raises((SafetensorError, OSError)):
            save(path, {"a": torch.zeros(100_000)}, {"epoch": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert load(path)[1] == {"epoch": 1}
    assert list(tmp_path.iterdir()) == [path]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def cut_off_the_head(path: Path) -> None:
    path.write_bytes(path.read_bytes()[10:])


def behead(path: Path) -> None:
    path.write_bytes(b"\0" * path.stat().st_size)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def replace_with_text(path: Path) -> None:
    path.write_text("weights")


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def lose_facts(path: Path) -> None:
    save_file({"a": torch.ones(3)}, path)


def lose_one_fact(path: Path) -> None:
    save_file({"a": torch.ones(3)}, path, metadata={"other": "{}"})


def write_facts_that_are_no_json(path: Path) -> None:
    save_file({"a": torch.ones(3)}, path, metadata={"facts": "{epoch: 1}"})


def write_facts_that_are_no_object(path: Path) -> None:
    save_file({"a": torch.ones(3)}, path, metadata={"facts": "[1]"})


def promise_an_endless_head(path: Path) -> None:
    path.write_bytes(b"\xff" * 8 + path.read_bytes()[8:])


DAMAGES: list[Callable[[Path], object]] = [
    truncate,
    cut_off_the_head,
    behead,
    empty,
    replace_with_text,
    make_folder,
    lose_facts,
    lose_one_fact,
    write_facts_that_are_no_json,
    write_facts_that_are_no_object,
    promise_an_endless_head,
    Path.unlink,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_named(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    path = tmp_path / "last.safetensors"
    save(path, {"a": torch.ones(3)}, {"epoch": 1})
    damage(path)
    with pytest.raises(UserError, match="is not a readable checkpoint") as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    if damage is not truncate:  # whose head is whole
        with pytest.raises(UserError, match="is not a readable checkpoint"):
            read_facts(path)


def test_facts_are_read_without_the_tensors(folder: UPath) -> None:
    path = folder / "last.safetensors"
    put_checkpoint(path, TENSORS, FACTS)
    content = path.read_bytes()
    storage.write_bytes(path, content[: 8 + int.from_bytes(content[:8], "little")])
    assert read_facts(path) == FACTS
    with pytest.raises(UserError):
        load(path)


def test_facts_are_json_and_nothing_is_pickled(tmp_path: Path) -> None:
    path = tmp_path / "a"
    save(path, {"a": torch.ones(3)}, FACTS)
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    head = json.loads(content[8 : 8 + length])
    assert json.loads(head["__metadata__"]["facts"]) == FACTS


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.PReLU(), nn.Linear(8, 1))


def steps(model: nn.Module, optimiser: torch.optim.Optimizer, first: int, last: int) -> None:
    for step in range(first, last):
        inputs = torch.randn(16, 4, generator=torch.Generator().manual_seed(step))
        optimiser.zero_grad()
        model(inputs).square().mean().backward()
        optimiser.step()


def test_an_optimiser_resumes_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    whole = network()
    optimiser = torch.optim.AdamW(whole.parameters(), lr=0.01)
    steps(whole, optimiser, 0, 10)

    first = network()
    optimiser = torch.optim.AdamW(first.parameters(), lr=0.01)
    steps(first, optimiser, 0, 5)
    save(tmp_path / "a", {**first.state_dict(), **optimiser_tensors(optimiser)}, {})

    tensors, _ = load(tmp_path / "a")
    second = network()
    second.load_state_dict({k: v for k, v in tensors.items() if not k.startswith("optimiser/")})
    optimiser = torch.optim.AdamW(second.parameters(), lr=0.01)
    restore_optimiser(optimiser, tensors)
    steps(second, optimiser, 5, 10)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(second.state_dict()[name], tensor), name


def test_an_optimiser_that_made_no_step_has_no_state() -> None:
    optimiser = torch.optim.AdamW(network().parameters(), lr=0.01)
    assert optimiser_tensors(optimiser) == {}
    restore_optimiser(optimiser, {})
    assert optimiser.param_groups[0]["lr"] == 0.01


def test_moments_have_the_layout_of_their_parameters() -> None:
    # As of a convolution that is no 1x1 and not depthwise.
    def new() -> tuple[nn.Conv2d, torch.optim.AdamW]:
        layer = nn.Conv2d(4, 6, 3).to(memory_format=torch.channels_last)
        return layer, torch.optim.AdamW(layer.parameters())

    layer, optimiser = new()
    layer(torch.randn(2, 4, 8, 8)).sum().backward()
    optimiser.step()
    resumed, restored = new()
    tensors = {name: t.contiguous() for name, t in optimiser_tensors(optimiser).items()}
    restore_optimiser(restored, tensors)
    for parameter, before in zip(resumed.parameters(), layer.parameters(), strict=True):
        for entry in ("exp_avg", "exp_avg_sq"):
            moment = restored.state[parameter][entry]
            assert moment.stride() == parameter.stride()
            assert torch.equal(moment, optimiser.state[before][entry])
