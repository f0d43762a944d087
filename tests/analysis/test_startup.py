"""The arithmetic of startup.py, and the watch over the processes of a command."""

import sys
from pathlib import Path

import pytest
from startup import Row, by_library, summary, timed, verdict
from startup_parts.watch import Part, Seen, kind_of, parts_of, watch

OUTPUT = """
import time: self [us] | cumulative | imported package
import time:       100 |        100 |   torch.nn
import time:    250000 |     250100 | torch
import time:      5000 |       5000 | numpy._core
noise
"""


def test_imports_are_summed_up_by_library() -> None:
    assert by_library(OUTPUT) == {"torch": pytest.approx(0.2501), "numpy": pytest.approx(0.005)}
    assert list(by_library(OUTPUT)) == ["torch", "numpy"]


@pytest.mark.parametrize(
    ("title", "kind"),
    [
        ("/x/ray/core/src/ray/gcs/gcs_server --log_dir", "Ray: GCS"),
        ("/x/ray/core/src/ray/raylet/raylet --x", "Ray: raylet"),
        ("python /x/ray/dashboard/dashboard.py --host", "Ray: dashboard"),
        ("ray-dashboard-StateHead-0", "Ray: dashboard"),
        ("ray::DashboardAgent", "Ray: dashboard agent"),
        ("ray::IDLE", "Ray: idle workers"),
        ("ray::ImplicitFunc.train", "trial processes"),
        ("something", "others"),
    ],
)
def test_processes_are_known_by_their_titles(title: str, kind: str) -> None:
    assert kind_of(title, is_first=False) == kind
    assert kind_of(title, is_first=True) == "driver"


def test_processes_of_a_kind_are_summed_up_and_the_dearest_comes_first() -> None:
    seen = {
        1: Seen("raysearch run", 2.0, 0.0),
        2: Seen("ray::ImplicitFunc", 3.0, 5.0),
        3: Seen("ray::ImplicitFunc.train", 4.0, 4.0),
    }
    assert parts_of(seen, 1) == [Part("trial processes", 2, 7.0, 4.0), Part("driver", 1, 2.0, 0.0)]


def test_a_command_is_watched_until_its_file_appears_and_then_ended(tmp_path: Path) -> None:
    program = "import time; sum(range(10**6)); open('first', 'w'); time.sleep(600)"
    [part], seconds = watch([sys.executable, "-c", program], tmp_path, "fir*")
    assert (part.kind, part.processes) == ("driver", 1)
    assert 0 < part.cpu <= seconds < 60


def test_a_command_that_ends_without_it_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no first epoch:\nfor this reason"):
        watch([sys.executable, "-c", "print('for this reason')"], tmp_path, "first")


def test_the_cpu_time_of_a_command_is_its_own(tmp_path: Path) -> None:
    idle = timed([sys.executable, "-c", "import time; time.sleep(0.5)"], tmp_path)
    busy = timed([sys.executable, "-c", "sum(range(3 * 10**7))"], tmp_path)
    assert idle[0] < busy[0]
    assert idle[1] >= 0.5


def test_figures_are_medians_and_compare_with_the_plain_script() -> None:
    def run(driver: float, trial: float, wall: float) -> tuple[list[Part], float]:
        return [Part("driver", 1, driver, 0.0), Part("trial processes", 1, trial, 3.0)], wall

    runs = summary("raysearch run", [run(4, 8, 10), run(5, 9, 12), run(40, 80, 99)])
    assert [(row.part, row.cpu, row.wall) for row in runs] == [
        ("driver", 5, 0.0),
        ("trial processes", 9, 3.0),
        ("driver and trial", 14, 12),
        ("all", 14, 12),
    ]
    plain = summary("plain", [run(4, 8, 10)])
    assert verdict([*runs, *plain]).endswith(": raysearch run 1.20")
    assert isinstance(runs[0], Row)
