"""optuna-dashboard on the journal of a study."""

from pathlib import Path

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna_dashboard import run_server


def serve(journal: Path, port: int) -> None:
    """Serves the dashboard on 127.0.0.1 until it is stopped."""
    storage = JournalStorage(JournalFileBackend(str(journal)))
    run_server(storage, host="127.0.0.1", port=port)
