"""Losses and gradients of a step, computed at once or from a CUDA graph."""

from pathlib import Path

import pytest
import torch

from raysearch.data.dataset import TrialData
from raysearch.training.learner import Learner
from raysearch.training.loading import load
from raysearch.training.step import GraphStep, Inputs, Losses, Step, _Graph
from tests.tiny import open_valve, tiny_config

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.fixture
def learner(demo_data: Path) -> Learner:
    learner = new_learner(open_valve(demo_data))
    learner.network.train()
    return learner


def new_learner(data: TrialData) -> Learner:
    # Without Dropout, whose draws differ between the steps.
    return Learner(tiny_config(data, lam=0.5, dropout=0.0), data, pretrained=False)


def inputs_of(learner: Learner, sizes: tuple[int, ...] = (8, 6)) -> list[Inputs]:
    """Inputs of the first batches of an epoch, cut to some sizes."""
    batches = zip(learner.feed.training(0), sizes, strict=False)
    return [
        load(batch.select(range(size)), len(learner.data.ids), learner.device).send(learner.device)
        for batch, size in batches
    ]


def gradients(learner: Learner) -> list[torch.Tensor]:
    return [p.grad.clone() for p in learner.encoder.parameters() if p.grad is not None]


def test_a_step_sets_the_gradients_of_the_weighted_loss(learner: Learner) -> None:
    step, objective = learner.step, learner.objective
    for inputs in inputs_of(learner):
        losses: Losses = objective.losses(learner.network, inputs, bf16=False)
        parameters = list(learner.encoder.parameters())
        expected = torch.autograd.grad(objective.total(losses), parameters)
        returned = step(inputs)
        for name, loss in losses.items():
            torch.testing.assert_close(returned[name], loss.detach())
            assert not returned[name].requires_grad
        for parameter, gradient in zip(parameters, expected, strict=True):
            torch.testing.assert_close(parameter.grad, gradient)


def test_the_total_is_weighted_by_lambda(learner: Learner) -> None:
    losses = {"machine": torch.tensor(3.0), "product": torch.tensor(4.0)}
    assert float(learner.objective.total(losses)) == 3.0 + 0.5 * 4.0


def test_a_cpu_computes_one_operation_after_the_other(learner: Learner) -> None:
    if learner.device.type == "cpu":
        assert type(learner.step) is Step
    else:
        assert type(learner.step) is GraphStep


@needs_gpu
def test_a_graph_has_the_losses_and_gradients_of_its_operations(learner: Learner) -> None:
    step = Step(learner.network, learner.objective, bf16=False)
    graph = GraphStep(learner.network, learner.objective, bf16=False)
    for inputs in inputs_of(learner) * 2:
        before = {name: b.clone() for name, b in learner.encoder.named_buffers()}
        expected, expected_gradients = step(inputs), gradients(learner)
        after = {name: b.clone() for name, b in learner.encoder.named_buffers()}
        for name, buffer in learner.encoder.named_buffers():
            buffer.copy_(before[name])
        torch.testing.assert_close(graph(inputs), expected)
        torch.testing.assert_close(gradients(learner), expected_gradients, rtol=1e-3, atol=1e-4)
        # The capture is no step of its own.
        torch.testing.assert_close(dict(learner.encoder.named_buffers()), after)


@needs_gpu
def test_a_capture_draws_no_random_number(learner: Learner) -> None:
    before = torch.cuda.get_rng_state()
    graph = GraphStep(learner.network, learner.objective, bf16=False)
    assert graph._try_capture(inputs_of(learner)[0]) is not None
    assert torch.equal(torch.cuda.get_rng_state(), before)


def test_a_shape_that_cannot_be_captured_is_computed(
    learner: Learner, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # As on a GPU whose capture fails.
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: None)
    monkeypatch.setattr(torch.cuda, "get_rng_state", torch.get_rng_state)
    monkeypatch.setattr(torch.cuda, "set_rng_state", torch.set_rng_state)

    def fail(*_: object) -> None:
        torch.rand(1)
        raise RuntimeError("operation not permitted when stream is capturing\nmore lines")

    graph = GraphStep(learner.network, learner.objective, bf16=False)
    monkeypatch.setattr(graph, "_capture", fail)
    state = torch.get_rng_state()
    batches = inputs_of(learner)
    expected = [learner.step(inputs) for inputs in batches]
    for buffer in learner.encoder.buffers():
        buffer.zero_()
    for inputs, losses in zip(batches, expected, strict=True):
        torch.testing.assert_close(graph(inputs), losses)
    graph(batches[0])
    assert [record.getMessage() for record in caplog.records] == [
        f"no CUDA graph for batches of {size}, which is slower: operation not permitted when "
        "stream is capturing"
        for size in (8, 6)
    ]
    assert torch.equal(torch.get_rng_state(), state)


def test_a_graph_with_other_losses_is_not_used(
    learner: Learner, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: None)
    monkeypatch.setattr(torch.cuda, "get_rng_state", torch.get_rng_state)
    monkeypatch.setattr(torch.cuda, "set_rng_state", torch.set_rng_state)
    inputs = inputs_of(learner)[0]
    right = learner.step(inputs)
    gradients = tuple(parameter.grad for parameter in learner.encoder.parameters())

    class Replayed:
        def replay(self) -> None:
            """Leave the losses as they are."""

    def capture(factor: float) -> GraphStep:
        graph = GraphStep(learner.network, learner.objective, bf16=False)
        losses = {name: loss * factor for name, loss in right.items()}
        captured = _Graph(Replayed(), inputs, losses, gradients)
        monkeypatch.setattr(graph, "_capture", lambda _: captured)
        graph(inputs)
        return graph

    assert list(capture(1.0).graphs.values()) != [None]
    assert not caplog.records
    assert list(capture(1.1).graphs.values()) == [None]
    assert "losses and gradient are" in caplog.text
