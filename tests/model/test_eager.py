"""torch without its compiler: nothing that raysearch does brings it, and it comes when asked for.

The module stands for private names of torch. Tried with torch 2.14.1 and torchvision 0.29.1.
"""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow  # Processes that import torch, some with its compiler.

BEGIN = """
import sys
import torch
from raysearch.model.backbone import new_backbone

def compiler():
    return sorted(name for name in sys.modules if name.startswith("torch._dynamo.") and
                  name != "torch._dynamo.utils")

def step():
    optimiser.zero_grad()
    model(torch.ones(2, 1, 32, 32)).square().mean().backward()
    optimiser.step()
    schedule.step()

model = new_backbone("test_efficientnet", False, (64, 63))
optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=1e-3, total_steps=9)
step()
print(len(compiler()))
"""


def run(program: str) -> list[str]:
    """Run a program in a new process; return what it prints."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_a_network_is_trained_without_the_compiler_and_others_get_it() -> None:
    compiling = """
assert torch.compile(lambda x: x + 1, backend="eager")(torch.ones(1)) == 2
step()
print(len(compiler()) > 9)
"""
    assert run(BEGIN + compiling) == ["0", "True"]


COMPILER_USES = (
    "import torch._dynamo; torch._dynamo.reset()",
    "from torch._dynamo import config; config.verbose",
    "import torch._dynamo.utils; torch._dynamo.utils.counters",
    "import torch._dynamo.config",
    "from torch._dynamo.utils import is_compile_supported; is_compile_supported('cpu')",
)


def test_who_asks_for_the_compiler_gets_it() -> None:
    forking = f"""
import os
torch.set_num_threads(1)
for ask in {COMPILER_USES!r}:
    sys.stdout.flush()
    if os.fork() == 0:
        exec(ask)
        print(len(compiler()) > 9, sys.modules["torch._dynamo"].__file__ is not None)
        break
    os.wait()
"""
    assert run(BEGIN + forking) == ["0", *["True"] * 2 * len(COMPILER_USES)]


def test_where_the_compiler_is_there_it_stays() -> None:
    program = """
import sys
import torch._dynamo
before = sys.modules["torch._dynamo"]
import raysearch.model.backbone
print(sys.modules["torch._dynamo"] is before)
"""
    assert run(program) == ["True"]


def test_the_compiler_does_not_look_into_what_was_hidden_from_it() -> None:
    program = """
import torch
import raysearch.model.backbone

@torch.compiler.disable
def hidden(x):
    print(torch.compiler.is_compiling())
    return x + 1

@torch.compiler.disable(recursive=False)
def also(x):
    return x + 1

hidden(also(torch.ones(1)))
compiled = torch.compile(lambda x: hidden(also(x)) + 1, backend="eager")
print(float(compiled(torch.ones(1))))
"""
    assert run(program) == ["False", "False", "4.0"]
