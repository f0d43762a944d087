"""Trials on a real MLflow server, seen by its client and in a real browser.

Only whole runs show what a server is told of them, and that they outlive it.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]
    EventAccumulator,
)

from raysearch.backend.background_import import BackgroundImport
from raysearch.backend.tensorboard import TENSORBOARD, TensorBoard
from raysearch.errors import UserError
from tests.browser import PATIENCE, browser
from tests.command import Ended, Started, trial_table, write_space
from tests.remote.head import free_ports

SERVER = "MLFLOW_TRACKING_URI"


@contextmanager
def server(folder: Path, port: int) -> Iterator[str]:
    """An MLflow server on loopback; gives its address."""
    command = [sys.executable, "-m", "mlflow", "server", "--workers=1", f"--port={port}"]
    command += [f"--backend-store-uri=sqlite:///{folder}/mlflow.db"]
    # Without its job runners, seven more processes for which it waits minutes on a busy machine.
    settings = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    environment = os.environ | settings
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    address = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + PATIENCE / 1000
        while not _answers(f"{address}/health"):
            assert process.poll() is None, (folder / "server.log").read_text()
            assert time.monotonic() < end
            time.sleep(0.2)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def _answers(address: str) -> bool:
    try:
        with urlopen(address, timeout=10) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


COMMAND = (
    *("run", "--machine=valve", "--space=tracked.yaml", "--concurrent=1"),
    *("--no-final", "--no-dashboard", "--no-report"),
)


@dataclass(eq=False)
class Trial:
    """As much of a trial of Tune as its loggers ask for."""

    local_path: str
    evaluated_params: dict[str, float] = field(default_factory=lambda: {"lr": 1e-3})
    trial_id: str = "0"

    def init_local_path(self) -> None:
        Path(self.local_path).mkdir(exist_ok=True)


class Later(BackgroundImport):
    """Says when the library is there, which it always is."""

    there = False

    def is_loaded(self, module: str) -> bool:
        return self.there


@pytest.mark.parametrize("comes", [1, 2, None], ids=["at once", "later", "in the end"])
def test_every_epoch_has_its_point_whenever_the_library_comes(
    tmp_path: Path, comes: int | None
) -> None:
    later, trial = Later((TENSORBOARD,)), Trial(str(tmp_path / "trial"))
    with TensorBoard(later) as board:
        board.log_trial_start(trial)
        for epoch in (1, 2, 3):
            later.there = comes is not None and epoch >= comes
            result: dict[str, Any] = {
                "val_loss": 1 / epoch,
                "training_iteration": epoch,
                "config": {},
            }
            board.log_trial_result(epoch, trial, result)
            result["val_loss"] = 7.0  # Tune may use it again
        board.log_trial_end(trial)
    events = EventAccumulator(str(tmp_path / "trial")).Reload().Scalars("ray/tune/val_loss")
    assert [event.step for event in events] == [1, 2, 3]
    assert [event.value for event in events] == pytest.approx([1, 1 / 2, 1 / 3])


TRIALS, LOGGED = 5, 2
"""Trials of the search, and those logged to the server before it was lost."""


@dataclass(frozen=True)
class Tracked:
    """A search that lost its server in the middle.

    Attributes:
        runs: what the server said of the first trials, in their order.
        curves: their points of the validation loss.
        page: what a browser shows of them; an error if there is none.
    """

    home: Path
    ended: Ended
    runs: Sequence[Any]
    curves: Sequence[Sequence[Any]]
    page: str | LookupError

    @property
    def rows(self) -> list[dict[str, str]]:
        return trial_table(self.home / "runs" / "valve")


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory, demo_data: Path) -> Tracked:
    home, [port] = tmp_path_factory.mktemp("tracked"), free_ports(1)
    (home / "data").symlink_to(demo_data)
    write_space(home / "tracked.yaml", strategy={"trials": TRIALS}, tracking="mlflow")
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        address = stack.enter_context(server(tmp_path_factory.mktemp("mlflow"), port))
        patch.setenv(SERVER, address)
        from mlflow import MlflowClient

        client, runs = MlflowClient(address), list[Any]()

        def logged() -> bool:
            time.sleep(0.2)  # The server answers the search as well.
            if (experiment := client.get_experiment_by_name("valve")) is not None:
                order = ["start_time"]
                runs[:] = client.search_runs([experiment.experiment_id], order_by=order)[:LOGGED]
            return [run.info.status for run in runs] == ["FINISHED"] * LOGGED

        search = Started(COMMAND, home)
        search.wait_until(logged)
        # The search would be over before a browser has started.
        os.kill(search.process.pid, signal.SIGSTOP)
        try:
            curves = [client.get_metric_history(run.info.run_id, "val_loss") for run in runs]
            page = shown(f"{address}/#/experiments/{runs[0].info.experiment_id}/runs")
            stack.close()
        finally:
            os.kill(search.process.pid, signal.SIGCONT)
        return Tracked(home, search.wait(), runs, curves, page)


def shown(address: str) -> str | LookupError:
    """Return what a page says once it shows the last logged run."""
    try:
        with browser() as at:
            page = at.new_page()
            page.goto(address)
            page.get_by_text(f"valve_{LOGGED - 1:04d}").first.wait_for(timeout=PATIENCE)
            return page.inner_text("body")
    except LookupError as error:
        return error


@pytest.mark.slow
def test_every_trial_is_a_run_with_its_parameters_and_curves(tracked: Tracked) -> None:
    assert [run.info.run_name for run in tracked.runs] == ["valve_0000", "valve_0001"]
    for number, run in enumerate(tracked.runs):
        trial_rows = [row for row in tracked.rows if row["trial"] == str(number)]
        assert run.info.status == "FINISHED"
        params = {key: float(run.data.params[key]) for key in ("lr", "batch_size", "lambda")}
        assert params == {key: float(trial_rows[0][key]) for key in params}
        curve = tracked.curves[number]
        assert [point.step for point in curve] == [1, 2]
        assert min(point.value for point in curve) == float(trial_rows[0]["val_loss"])
        best = max(float(row["val_score"]) for row in trial_rows)
        assert run.data.metrics["val_score"] == best


@pytest.mark.slow
def test_runs_are_seen_in_a_browser(tracked: Tracked) -> None:
    if isinstance(tracked.page, LookupError):
        pytest.skip(str(tracked.page))
    assert "valve_0000" in tracked.page
    assert "valve_0001" in tracked.page


@pytest.mark.slow
def test_a_server_that_is_lost_does_not_take_the_search_with_it(tracked: Tracked) -> None:
    assert (tracked.ended.code, tracked.ended.err) == (0, "")
    assert tracked.ended.out.count("MLflow was lost (") == 1
    assert {row["trial"] for row in tracked.rows} == set(map(str, range(TRIALS)))


@dataclass(eq=False)
class Logged:
    """As much of a trial of Tune as its MLflow logger asks for."""

    number: int
    config: dict[str, Any] = field(default_factory=lambda: {"study": "valve", "lr": 1e-3})

    def __str__(self) -> str:
        return f"valve_{self.number:04d}"


@pytest.mark.slow
@pytest.mark.parametrize("comes", ["during the search", "at its end", "never"])
def test_a_server_that_comes_back_is_told_what_it_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, comes: str
) -> None:
    from mlflow import MlflowClient

    from raysearch.backend import mlflow_runs

    # A process remembers the first address.
    monkeypatch.setattr("mlflow.tracking._tracking_service.utils._tracking_uri", None)
    [port] = free_ports(1)
    for name in ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_DISABLE_TELEMETRY"):
        monkeypatch.setenv(name, "0")
    monkeypatch.setattr(mlflow_runs, "PAUSE", 0.0 if comes == "during the search" else 1e9)
    warnings, first, second = list[str](), Logged(0), Logged(1)
    with server(tmp_path, port) as address:
        monkeypatch.setenv(SERVER, address)
        runs = mlflow_runs.MLflowRuns("valve", warnings.append)
        runs.setup()  # type: ignore[no-untyped-call]
        runs.log_trial_start(first)
        result = {"val_loss": 3.0, "training_iteration": 1}
        runs.log_trial_result(1, first, result)
    result |= {"val_loss": 2.0, "training_iteration": 2}
    runs.log_trial_result(2, first, result)
    result["val_loss"] = 7.0  # Tune may use it again
    runs.log_trial_end(first)
    runs.log_trial_start(second)
    assert [text.partition(" (")[0] for text in warnings] == ["MLflow was lost"]
    if comes == "never":
        runs.on_experiment_end([])
        assert warnings[1] == "MLflow did not come back: it lacks the last 3 messages"
        return
    with server(tmp_path, port):
        runs.log_trial_result(1, second, {"val_loss": 1.0, "training_iteration": 1})
        assert bool(runs.missed) == (comes == "at its end")
        runs.log_trial_end(second, failed=True)
        runs.on_experiment_end([])
        assert warnings[1:] == ["MLflow is back, and was told what it missed"]
        client = MlflowClient(address)
        experiment = client.get_experiment_by_name("valve")
        assert experiment is not None
        logged = client.search_runs([experiment.experiment_id], order_by=["start_time"])
        assert [(run.info.run_name, run.info.status) for run in logged] == [
            ("valve_0000", "FINISHED"),
            ("valve_0001", "FAILED"),
        ]
        curves = [client.get_metric_history(run.info.run_id, "val_loss") for run in logged]
        points = [[(point.step, point.value) for point in curve] for curve in curves]
        assert points == [[(1, 3.0), (2, 2.0)], [(1, 1.0)]]


def test_a_server_that_does_not_answer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    [port] = free_ports(1)
    monkeypatch.setenv(SERVER, f"http://127.0.0.1:{port}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    from raysearch.backend.mlflow_runs import check_tracking

    with pytest.raises(UserError, match="tracking: none") as refused:
        check_tracking()
    assert f"127.0.0.1:{port}" in str(refused.value)


@pytest.mark.parametrize("login", ["me:un/spo@ken", "unspoken"])
def test_an_address_with_a_login_is_refused(monkeypatch: pytest.MonkeyPatch, login: str) -> None:
    from raysearch.backend.mlflow_runs import check_tracking

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"https://{login}@host:1/x")
    with pytest.raises(UserError, match="holds a login; set MLFLOW_TRACKING_USERNAME") as caught:
        check_tracking()
    assert "spo" not in str(caught.value)


def test_without_the_package_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from raysearch.backend.mlflow_runs import check_tracking

    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(UserError, match=r"pip install 'raysearch\[mlflow\]'"):
        check_tracking()
