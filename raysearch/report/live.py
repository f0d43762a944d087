"""Live view of a search: a table on a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from raysearch.backend.resources import Cluster, Share
from raysearch.backend.search_callback import SearchCallback, StudyProgress
from raysearch.errors import printable
from raysearch.report.live_table import Running, render_search, search_name, trial_name
from raysearch.report.progress import ProgressBars, progress, say, show_log
from raysearch.report.wording import (
    count,
    duration,
    format_inlier,
    format_share,
    origin,
    settings,
    validation_score,
)
from raysearch.search.budget import Budget
from raysearch.study.records import Proposal, Record, State
from raysearch.training.outcome import Epoch


class LiveView(SearchCallback):
    """View of the studies of a search while it runs."""

    def __init__(self, console: Console) -> None:
        """Show nothing yet.

        Args:
            console: to show the search on.
        """
        self.console = console
        self.budget = Budget()
        self.studies: dict[str, StudyProgress] = {}
        self.earlier = 0
        """Trials that ended in earlier runs."""
        self.running: dict[tuple[str, int], Running] = {}
        self.dashboard = ""
        self.start = time.monotonic()
        self.live = Live(console=console, refresh_per_second=4, get_renderable=self._render)

    @property
    def name(self) -> str:
        """Name of the study, or the number of studies."""
        return search_name(self.studies)

    def on_search_start(self, studies: Sequence[StudyProgress], budget: Budget) -> None:
        """Show the studies before the first trial."""
        self.studies, self.budget = {study.name: study for study in studies}, budget
        self.earlier = self._ended()
        self.start = time.monotonic()
        if self.console.is_terminal:
            self.live.start()

    def on_cluster_ready(self, cluster: Cluster, share: Share) -> None:
        """Show the cluster that runs the trials."""
        self.dashboard = cluster.dashboard
        self.start = time.monotonic()
        if cluster.address:
            machines = count(len(cluster.nodes), "machine")
            say(
                self.console,
                f"{self.name}: joined the Ray cluster at {cluster.address} ({machines})",
            )
        line = f"{self.name}: {count(share.concurrent, 'trial')} at once, "
        line += f"{format_share(share)} each"
        self._line(line + (f"; Ray dashboard at {cluster.dashboard}" if cluster.dashboard else ""))

    def on_trial_start(self, study: str, proposal: Proposal) -> None:
        """Show a new trial."""
        trial = Running(
            proposal, self.studies[study].epochs, time.monotonic(), note=origin(proposal)
        )
        self.running[study, proposal.number] = trial
        note = f" ({trial.note})" if trial.note else ""
        self._line(f"{self._trial(study, proposal.number)}: {settings(proposal)}{note}")

    def on_epoch_end(self, study: str, number: int, epoch: Epoch) -> None:
        """Show the progress of a trial."""
        trial = self.running.get((study, number))
        if trial is None:
            return
        trial.epoch, trial.note = epoch.epoch, origin(trial.proposal)
        trial.train_loss, trial.val_loss = epoch.train_loss, epoch.val_loss
        score = epoch.val_score
        trial.score = trial.score if score is None else score
        quarter = trial.epoch == trial.epochs or trial.epoch % max(1, trial.epochs // 4) == 0
        if quarter or score is not None:
            rung = "" if score is None else f", validation score {score:.4f} so far"
            self._line(
                f"{self._trial(study, number)}: epoch {trial.epoch}/{trial.epochs}, training loss "
                f"{trial.train_loss:.4f}, validation loss {trial.val_loss:.4f}{rung}"
            )

    def on_recordings_read(self, study: str, number: int, host: str, clips: int) -> None:
        """Show the number of recordings that a trial's machine has read."""
        trial = self.running.get((study, number))
        if trial is not None:
            trial.note = f"{host} reads recordings: {clips} so far"
            self._line(f"{self._trial(study, number)}: {trial.note}")

    def on_trial_restart(self, study: str, number: int, host: str, reason: str) -> None:
        """Warn of a trial that lost its process or machine."""
        trial = self._trial(study, number)
        self.on_warning(f"{trial}: lost on {host} ({reason}); it resumes from its checkpoint")

    def on_trial_end(self, study: str, record: Record) -> None:
        """Show the result of a trial."""
        number, progress = record.proposal.number, self.studies[study]
        trial = self.running.pop((study, number), None)
        best = record.best
        if best is not None:
            model = f"with {format_inlier(best.spec)}"
            model = "without an inlier model" if best.inlier == "none" else model
            result = f"{validation_score(best.val_score)} {model}"
        elif record.state is State.PRUNED:
            result = f"after {len(record.history)} of {progress.epochs} epochs"
            result += f", score {trial.score:.4f}" if trial and trial.score is not None else ""
        else:
            result = record.error or "; ".join(dict.fromkeys(row.error for row in record.rows))
        line = f"{self._trial(study, number)}: {record.state} {result}"
        if self.console.is_terminal and record.state is State.FAIL:
            self.live.console.print(Text(printable(line), style="red"))
        self._line(f"{line}  [{self._ended()}/{self._total()}, {self._times()}]")

    def on_search_end(self) -> None:
        """Stop the updates and leave the last view on the terminal."""
        self.live.stop()

    def on_warning(self, text: str) -> None:
        """Show a line, above the live table if there is one."""
        say(self.live.console if self.console.is_terminal else self.console, text)

    def _line(self, text: str) -> None:
        if not self.console.is_terminal:
            say(self.console, text)

    def _trial(self, study: str, number: int) -> str:
        return trial_name(self.studies, study, number)

    def _ended(self) -> int:
        return sum(len(study.records) for study in self.studies.values())

    def _total(self) -> int:
        return sum(study.total for study in self.studies.values())

    def _times(self) -> str:
        elapsed = time.monotonic() - self.start
        new, total = self._ended() - self.earlier, self._total()
        # A running trial counts by the share of its finished epochs.
        shares = new + sum(trial.epoch / max(1, trial.epochs) for trial in self.running.values())
        text = f"{duration(elapsed)} elapsed"
        if shares > 0:
            left = elapsed / shares * max(0.0, total - self.earlier - shares)
            text += f", about {duration(left)} left"
        return text + self._budgets()

    def _budgets(self) -> str:
        text = ""
        if self.budget.seconds is not None:
            text += f", {duration(self.budget.seconds)} at most"
        if self.budget.gpu_hours is not None:
            spent = sum(study.device_seconds for study in self.studies.values()) / 3600
            text += f", {spent:.2f} of {self.budget.gpu_hours:g} GPU hours"
        return text

    def _render(self) -> Group:
        return render_search(self.studies, self.running, self._times(), self.dashboard)


@contextmanager
def show_on_console(*, quiet: bool = False) -> Iterator[tuple[LiveView, ProgressBars]]:
    """Show a run on the console while the block runs: the log, the search, progress bars.

    Args:
        quiet: print nothing.

    Yields:
        The callback of the search and the maker of the progress bars.
    """
    console = Console(quiet=quiet)
    with show_log(console):
        yield LiveView(console), partial(progress, console)
