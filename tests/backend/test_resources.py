"""What a trial holds, and how many run at once."""

import pytest
import torch

from raysearch.backend.resources import (
    Node,
    Resources,
    Share,
    allocate,
    autoscaled_nodes,
    check_gpus,
)
from raysearch.errors import UserError

LAPTOP, BOX = [Node(8)], [Node(32, 4)]
FARM = [Node(4), Node(16, 2), Node(16, 2)]  # a head without a GPU and two machines
THREE = [Node(1), Node(1), Node(1)]


@pytest.mark.parametrize(
    ("resources", "nodes", "expected"),
    [
        # Nothing asked: a GPU each where there are GPUs, else a CPU each.
        (Resources(), [Node(1)], Share(1, 1, 0, 1)),
        (Resources(), LAPTOP, Share(1, 1, 0, 8)),
        (Resources(), [Node(8, 1)], Share(1, 8, 1, 1)),
        (Resources(), BOX, Share(1, 8, 1, 4)),
        (Resources(), [Node(2, 4)], Share(1, 1, 1, 2)),  # more GPUs than CPUs
        (Resources(), FARM, Share(1, 8, 1, 4)),
        (Resources(), THREE, Share(1, 1, 0, 3)),
        (Resources(), [Node(0), Node(2)], Share(1, 1, 0, 2)),  # nothing runs on the head
        # Fractions pack trials on a GPU; none spans two.
        (Resources(gpus=0.25), [Node(16, 1)], Share(1, 4, 0.25, 4)),
        (Resources(gpus=0.25), [Node(16, 2)], Share(1, 2, 0.25, 8)),
        (Resources(gpus=0.3), [Node(64, 4)], Share(1, 5, 0.3, 12)),
        (Resources(gpus=0.7), [Node(64, 4)], Share(1, 16, 0.7, 4)),
        (Resources(gpus=0.5), FARM, Share(1, 4, 0.5, 8)),
        (Resources(gpus=0), BOX, Share(1, 1, 0, 32)),  # leaves the GPUs alone
        # Several workers hold a GPU each, or share the CPUs.
        (Resources(gpus=2), [Node(16, 4)], Share(2, 4, 1, 2)),
        (Resources(gpus=2), [Node(16, 5)], Share(2, 3, 1, 2)),
        (Resources(gpus=4), FARM, Share(4, 8, 1, 1)),  # across two machines
        (Resources(workers=2), BOX, Share(2, 8, 1, 2)),
        (Resources(workers=2, gpus=2), BOX, Share(2, 8, 1, 2)),
        (Resources(workers=2, gpus=0), BOX, Share(2, 1, 0, 16)),
        (Resources(workers=2), [Node(2)], Share(2, 1, 0, 1)),
        (Resources(workers=2), THREE, Share(2, 1, 0, 1)),
        (Resources(workers=2, cpus=4), LAPTOP, Share(2, 2, 0, 2)),
        (Resources(workers=3, concurrent=1), [Node(4), Node(2)], Share(3, 1, 0, 1)),
        # Fewer at once have more CPUs each, but never more than one machine has.
        (Resources(concurrent=1), LAPTOP, Share(1, 8, 0, 1)),
        (Resources(concurrent=3), LAPTOP, Share(1, 2, 0, 3)),
        (Resources(concurrent=100), LAPTOP, Share(1, 1, 0, 8)),
        (Resources(concurrent=2), BOX, Share(1, 16, 1, 2)),
        (Resources(concurrent=1), THREE, Share(1, 1, 0, 1)),
        (Resources(concurrent=2), [Node(8), Node(2)], Share(1, 2, 0, 2)),
        # CPUs that were asked for bound how many fit.
        (Resources(cpus=3), LAPTOP, Share(1, 3, 0, 2)),
        (Resources(cpus=8), LAPTOP, Share(1, 8, 0, 1)),
        (Resources(cpus=4, concurrent=4), LAPTOP, Share(1, 4, 0, 2)),
        (Resources(gpus=0.25, cpus=8), [Node(16, 2)], Share(1, 8, 0.25, 2)),
        (Resources(cpus=2), [Node(1), Node(5)], Share(1, 2, 0, 2)),
    ],
)
def test_a_trial_is_fitted_to_the_cluster(
    resources: Resources, nodes: list[Node], expected: Share
) -> None:
    share = allocate(resources, nodes)
    assert share == expected
    assert share.cpus * share.workers * share.concurrent <= sum(node.cpus for node in nodes)
    assert share.gpus * share.workers * share.concurrent <= sum(node.gpus for node in nodes)


@pytest.mark.parametrize(
    ("resources", "nodes", "message"),
    [
        (Resources(gpus=1), LAPTOP, "--gpus-per-trial 1: this machine has no GPU; leave the flag"),
        (Resources(gpus=0.5), LAPTOP, "--gpus-per-trial 0.5: this machine has no GPU;"),
        (Resources(gpus=2), [Node(8, 1)], "--gpus-per-trial 2: this machine has 1 GPU;"),
        (Resources(gpus=8), BOX, "--gpus-per-trial 8: this machine has 4 GPUs;"),
        (Resources(gpus=1.5), BOX, "--gpus-per-trial 1.5: more than one GPU must be a whole"),
        (Resources(gpus=4, workers=2), BOX, "--workers-per-trial 2 with --gpus-per-trial 4: each"),
        (
            Resources(gpus="auto", workers=2),
            BOX,
            "--workers-per-trial 2 with --gpus-per-trial a",
        ),
        (Resources(cpus=9), LAPTOP, "--cpus-per-trial 9: there are 8 CPUs on a machine here"),
        (Resources(cpus=2), THREE, "--cpus-per-trial 2: there are 1 CPUs on a machine here"),
        (Resources(workers=4), THREE, "4 workers of a trial: this machine has CPUs for 3"),
        (Resources(workers=8), BOX, "8 workers of a trial: this machine has GPUs for 4"),
    ],
)
def test_what_can_never_run_is_refused(
    resources: Resources, nodes: list[Node], message: str
) -> None:
    with pytest.raises(UserError) as caught:
        allocate(resources, nodes)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_gpus_are_checked_before_anything_is_started() -> None:
    there = torch.cuda.device_count()
    check_gpus(Resources(), "")
    check_gpus(Resources(gpus=there), "")
    check_gpus(Resources(gpus="auto"), "")
    with pytest.raises(UserError, match=f"^--gpus-per-trial {there + 1}: this machine has "):
        check_gpus(Resources(gpus=there + 1), "")
    # The GPUs may be on other machines.
    check_gpus(Resources(gpus=there + 1), "head:6379")


def test_a_cluster_that_grows_from_zero_is_taken_at_its_full_size() -> None:
    config = {
        "head_node_type": "head",
        "available_node_types": {
            "head": {"resources": {"CPU": 4}, "max_workers": 0},
            "gpu": {"resources": {"CPU": 8, "GPU": 1}, "min_workers": 0, "max_workers": 3},
        },
    }
    nodes = autoscaled_nodes(config)
    assert nodes == [Node(4), *[Node(8, 1)] * 3]
    assert allocate(Resources(), nodes) == Share(1, 8, 1, 3)
    assert autoscaled_nodes({}) == []
    # The file's bound on all workers counts as well.
    assert autoscaled_nodes({**config, "max_workers": 1}) == [Node(4), Node(8, 1)]
