"""A finished study, read from its folder, and its recordings opened again."""

from dataclasses import dataclass

from upath import UPath

from raysearch.data.dataset import TrialData, open_data
from raysearch.data.source import make_source
from raysearch.errors import UserError
from raysearch.storage import AnyPath, to_path
from raysearch.study.context import StudyContext
from raysearch.study.manifest import Manifest, read_manifest
from raysearch.study.space import Space, check_space
from raysearch.study.winner import Winner, read_frozen


@dataclass(frozen=True)
class FinishedStudy:
    """A study with a frozen configuration."""

    folder: UPath
    manifest: Manifest
    space: Space
    winner: Winner


def read_finished(folder: UPath) -> FinishedStudy:
    """Read a study that has a frozen configuration.

    Raises:
        UserError: the folder holds no study, or the study has no frozen configuration.
    """
    manifest = read_manifest(folder)
    winner = read_frozen(folder)
    if winner is None:
        raise UserError(f"{folder} has no frozen configuration yet; let its run end first")
    space = check_space(manifest.space, str(folder / "study.json"))
    if space.is_shared:
        raise UserError(
            f"{folder} is of a shared search: the same `raysearch run --shared` command tests it, "
            "and its detectors are those of its test machines, in machines/; name another run"
        )
    return FinishedStudy(folder, manifest, space, winner)


def open_recordings(
    study: FinishedStudy, data: AnyPath | None = None
) -> tuple[StudyContext, TrialData]:
    """Open the recordings that a study was searched on.

    Args:
        study: finished.
        data: folder of the data set; None takes the study's.

    Raises:
        UserError: the folder has other recordings.
    """
    manifest, space = study.manifest, study.space
    truth = manifest.ground_truth
    source = make_source(
        data or to_path(manifest.data),
        manifest.machine,
        space.validation_ids,
        space.source_options,
        ground_truth=to_path(truth) if truth else None,
        allow_defects=manifest.allow_defects,
    )
    recordings = open_data(source)
    if recordings.fingerprint != study.winner.data:
        raise UserError(f"{source.root}: not the recordings that {study.folder} was searched on")
    fingerprint = recordings.fingerprint
    return StudyContext(study.folder, source, fingerprint, space, manifest.files), recordings
