"""A study that is in the folder of a run already: compared, taken up or removed."""

from collections.abc import Mapping
from typing import Any

from upath import UPath

from raysearch import storage
from raysearch.errors import UserError
from raysearch.pipeline.plan import PlannedEnsemble
from raysearch.study.folder import LEDGER, StudyFolder
from raysearch.study.manifest import FILE as MANIFEST
from raysearch.study.space import Space, check_space
from raysearch.training.weights import FileHashes, check_files

CHANGEABLE = {
    *("strategy.trials", "strategy.patience", "strategy.warm_start", "tracking"),
    "test_machines",
}
"""Keys of a space that may change when a study is resumed: length, warm start, tracking.

A shared search reads nothing of its test machines, so they may be named after it.
"""


REMEDY = "use --fresh to start anew or --name to keep both"


def check_same_space(folder: UPath, space: Space, files: FileHashes | None = None) -> None:
    """Refuse to mix two studies with different spaces in one folder.

    Args:
        folder: of the study.
        space: of this run.
        files: hashes of the files that the space names; a file may have moved, but not changed.

    Raises:
        UserError: the folder holds another study, or other files.
    """
    study = StudyFolder(folder)
    if not study.exists():
        _check_empty(folder)
        return
    # Parsed, since an older version wrote fewer options.
    stored = check_space(study.manifest.space, str(study.path / "study.json"))
    before, now = (_flat(each.model_dump(mode="json", by_alias=True)) for each in (stored, space))
    files = kept_files(study, files or {})
    check_files(study.manifest.files, files, str(study.path), REMEDY)
    for key in sorted(before.keys() | now.keys()):
        changeable = key in CHANGEABLE or key.startswith("strategy.finalists")
        if not changeable and _content(before.get(key), files) != _content(now.get(key), files):
            raise UserError(
                f"{study.path} was begun with {key} = {before.get(key)}, now it is "
                f"{now.get(key)}; {REMEDY}"
            )


def kept_files(study: StudyFolder, files: FileHashes) -> FileHashes:
    """Return the hashes of files with which a study is begun or taken up.

    Args:
        study: new, or in the folder already.
        files: hashes of the files that the space names now.

    Returns:
        Those of an earlier study as well; none if it is of a version without hashes, whose encoders
        have signatures of paths.
    """
    if not study.exists():
        return files
    before = study.manifest.files
    return {**before, **files} if before else {}


def check_same_recordings(folder: UPath, fingerprint: str) -> None:
    """Refuse to mix two studies with different recordings in one folder.

    Raises:
        UserError: the study in the folder was searched on other recordings.
    """
    study = StudyFolder(folder)
    if study.exists() and study.manifest.fingerprint != fingerprint:
        raise UserError(f"{study.path} was searched on other recordings; {REMEDY}")


def check_ensemble_folder(planned: PlannedEnsemble, *, fresh: bool) -> None:
    """Refuse a folder that holds anything but an ensemble of the same members.

    Args:
        planned: the ensemble.
        fresh: an earlier study in the folder is deleted.

    Raises:
        UserError: the folder holds another study, or other files.
    """
    study = StudyFolder(planned.folder)
    if not study.exists():
        _check_empty(planned.folder)
    elif not fresh:
        stored = study.manifest.space
        earlier = list(stored.get("members", {})), stored.get("weights")
        if earlier != (list(planned.members), planned.weights):
            raise UserError(f"{planned.folder} holds another study; {REMEDY}")


def clear_other_space(folder: UPath, space: Space) -> None:
    """Remove the trials of a study of another space; its winner is that of another study."""
    study = StudyFolder(folder)
    if study.exists() and study.manifest.space != _stored(space):
        renew_study(folder, space)


def renew_study(folder: UPath, space: Space) -> None:
    """Remove the trials of a study and set its space; the openings of its test IDs stay."""
    study = StudyFolder(folder)
    study.manifest.model_copy(update={"space": _stored(space)}).write(folder)
    for path in storage.children(folder):
        if path.name != MANIFEST and not path.name.startswith(OPENED):
            _remove(path)


def _stored(space: Space) -> dict[str, Any]:
    return space.model_dump(mode="json", by_alias=True)


def discard_new_study(study: StudyFolder, *, new: bool) -> None:
    """Remove a study that this command created, if no trial has ended.

    Args:
        study: that was created or resumed.
        new: True if this command created it.
    """
    if new and not study.records():
        study.publish_journal()
        clear_study(study.path)
        if not storage.children(study.path):
            storage.remove_tree(study.path)


def clear_study(folder: UPath) -> None:
    """Remove a study except its ledger, which must keep every opening of the test IDs."""
    # study.json goes last, so that a removal that is cut short can be taken up.
    for path in sorted(storage.children(folder), key=lambda path: path.name == MANIFEST):
        if path.name != LEDGER:
            _remove(path)
    # Tune's curves of a search of several studies.
    for path in storage.children(folder.parent / "tune"):
        study, _, number = path.name.rpartition("_")
        if study == folder.name and number.isdecimal():
            storage.remove_tree(path)


OPENED = (
    *(LEDGER, "final_test", "final_scores", "official_scores", "reference_test"),
    "submission",
)
"""First parts of the names of files of an opening of the test IDs."""


def _remove(path: UPath) -> None:
    if path.is_dir():
        storage.remove_tree(path)
    else:
        path.unlink()


def _check_empty(folder: UPath) -> None:
    if folder.exists() and any(path.name != LEDGER for path in storage.children(folder)):
        raise UserError(f"{folder} is not empty and no study; choose another --name or --out")


def _content(value: Any, files: FileHashes) -> Any:
    """Return the hash of what a value of a space names, else the value."""
    if isinstance(value, list):
        return [_content(each, files) for each in value]
    return files.get(value, value) if isinstance(value, str) else value


def _flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
