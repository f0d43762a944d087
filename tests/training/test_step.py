"""Losses and gradients of a step, computed at once or from a CUDA graph."""

from contextlib import nullcontext
from functools import partial
from pathlib import Path

import pytest
import torch

from raysearch.data.dataset import TrialData
from raysearch.errors import TrialError
from raysearch.training.learner import Learner
from raysearch.training.loading import load
from raysearch.training.step import GraphStep, Inputs, Losses, Step, _Graph, new_step
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


def test_operations_are_compiled_only_on_demand(learner: Learner) -> None:
    assert type(learner.step) is Step
    assert learner.step.network is learner.network


def test_a_compiled_step_has_the_losses_and_gradients_of_its_operations(
    learner: Learner, monkeypatch: pytest.MonkeyPatch
) -> None:
    # To write and compile C++ takes minutes, and is torch's.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    options = learner.config.options.replace({"compile": True})
    compiled = new_step(learner.network, learner.objective, options)
    for inputs in inputs_of(learner):
        expected, expected_gradients = learner.step(inputs), gradients(learner)
        torch.testing.assert_close(compiled(inputs), expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(gradients(learner), expected_gradients, rtol=1e-3, atol=1e-4)


@needs_gpu
def test_a_graph_has_the_losses_and_gradients_of_its_operations(learner: Learner) -> None:
    graph = GraphStep(learner.network, learner.objective, bf16=False)
    for inputs in inputs_of(learner) * 2:
        before = {name: b.clone() for name, b in learner.encoder.named_buffers()}
        expected, expected_gradients = learner.step(inputs), gradients(learner)
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
    GraphStep(learner.network, learner.objective, bf16=False)._checked(inputs_of(learner)[0])
    assert torch.equal(torch.cuda.get_rng_state(), before)


class Replayed:
    """A graph that leaves losses and gradients as they are."""

    def replay(self) -> None:
        pass


@pytest.fixture
def graph(learner: Learner, monkeypatch: pytest.MonkeyPatch) -> GraphStep:
    """A step that a machine without a GPU may check, but not capture."""
    if not torch.cuda.is_available():
        monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: None)
        monkeypatch.setattr(torch.cuda, "get_rng_state", torch.get_rng_state)
        monkeypatch.setattr(torch.cuda, "set_rng_state", torch.set_rng_state)
    return GraphStep(learner.network, learner.objective, bf16=False)


def test_a_step_that_cannot_be_captured_is_the_trials_failure(
    graph: GraphStep, learner: Learner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("operation not permitted when stream is capturing\nmore lines")

    monkeypatch.setattr(graph, "_capture", fail)
    refused = r"cannot be a CUDA graph \(operation not permitted .* capturing\); set compile: false"
    with pytest.raises(TrialError, match=refused):
        graph(inputs_of(learner)[0])


def test_a_capture_without_memory_is_the_end_of_the_gpus_memory(
    graph: GraphStep, learner: Learner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(graph, "_capture", fail)
    with pytest.raises(torch.OutOfMemoryError):
        graph(inputs_of(learner)[0])


@pytest.mark.parametrize(("factor", "is_right"), [(1.0, True), (1.1, False)])
def test_a_graph_with_other_losses_is_refused(
    graph: GraphStep,
    learner: Learner,
    factor: float,
    is_right: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inputs = inputs_of(learner)[0]
    buffers = {name: buffer.clone() for name, buffer in learner.encoder.named_buffers()}
    losses = {name: loss * factor for name, loss in learner.step(inputs).items()}
    for name, buffer in learner.encoder.named_buffers():
        buffer.copy_(buffers[name])
    kept = tuple(parameter.grad for parameter in learner.encoder.parameters())
    captured = _Graph(Replayed(), inputs, losses, kept)
    monkeypatch.setattr(graph, "_capture", lambda _: captured)
    with nullcontext() if is_right else pytest.raises(TrialError, match="losses and gradient are"):
        assert graph(inputs) == losses
    torch.testing.assert_close(dict(learner.encoder.named_buffers()), buffers)
