"""A study on disk, for programs and notebooks."""

import io
from os import PathLike
from typing import TYPE_CHECKING

from upath import UPath

from raysearch.errors import UserError
from raysearch.report.trials_file import TrialsFile
from raysearch.storage import to_path
from raysearch.study.confidence import Confidence, read_confidence
from raysearch.study.folder import StudyFolder
from raysearch.study.manifest import Manifest
from raysearch.study.records import Record
from raysearch.study.scores import FINAL, read_final
from raysearch.study.space import check_space
from raysearch.study.winner import Winner, read_frozen

if TYPE_CHECKING:
    from pandas import DataFrame

    from raysearch.detector import Detector


class Study:
    """A study on disk: its request, trials and results.

    Each property reads the folder anew, so a running search can be watched. Only `report` writes.

    Example:
        >>> study = Study("runs/valve")  # doctest: +SKIP
        >>> study.trials().sort_values("val_score").tail(3)  # doctest: +SKIP

    Attributes:
        folder: of the study.
        manifest: content of study.json.
    """

    def __init__(self, folder: str | PathLike[str]) -> None:
        """Open a study.

        Args:
            folder: a local folder, or s3://... or gs://...

        Raises:
            UserError: the folder holds no study, or a study of another version.
        """
        self.folder: UPath = to_path(str(folder))
        self.manifest: Manifest = StudyFolder(self.folder).manifest
        self._detectors: dict[str | None, Detector] = {}

    def __repr__(self) -> str:
        """Return the expression that opens the study."""
        return f"Study({str(self.folder)!r})"

    @property
    def machine(self) -> str:
        """Target machine type."""
        return self.manifest.machine

    @property
    def records(self) -> list[Record]:
        """Records of the trials that ended, by number."""
        return StudyFolder(self.folder).records()

    def trials(self) -> "DataFrame":
        """Return a row for each trial, inlier model and p: the columns of trials.csv."""
        import pandas as pd

        space = check_space(self.manifest.space, str(self.folder / "study.json"))
        table = TrialsFile(self.folder, space, self.records)
        return pd.read_csv(io.StringIO(table.text()))

    @property
    def winner(self) -> Winner | None:
        """Frozen configuration; None until the search ends."""
        return read_frozen(self.folder)

    @property
    def confidence(self) -> Confidence:
        """Confidence that the winner is the best; empty until the search ends."""
        return read_confidence(self.folder)

    @property
    def final_test(self) -> "DataFrame | None":
        """AUC and pAUC of each test ID and their harmonic mean; None if there was no final test."""
        import pandas as pd

        path = self.folder / FINAL
        if not path.is_file():
            return None
        return pd.read_csv(io.StringIO(path.read_text("utf-8")), dtype={"id": str})

    @property
    def final_score(self) -> float | None:
        """Harmonic mean of AUC and pAUC over the test IDs; None without a final test."""
        return read_final(self.folder / FINAL).score

    def detector(self, machine: str | None = None) -> "Detector":
        """Load the winner's detector.

        Args:
            machine: a test machine of a shared search, which has a detector for each of them.

        Raises:
            UserError: the study has no detector yet, or it is of a shared search and `machine` is
                none of its test machines.
        """
        if machine not in self._detectors:
            from raysearch.study.bundle import load_detector

            self._detectors[machine] = load_detector(self._detector_folder(machine))
        return self._detectors[machine]

    def _detector_folder(self, machine: str | None) -> UPath:
        tested = self.manifest.space.get("test_machines") or []
        is_shared = bool(self.manifest.space.get("validation_machines"))
        if is_shared and machine not in tested:
            names = " or ".join(f'detector("{name}")' for name in tested) or "there are none"
            raise UserError(
                f"{self.folder} is of a shared search, whose detectors are those of its test "
                f"machines: {names}"
            )
        if not is_shared and machine is not None:
            raise UserError(f"{self.folder} has one detector, that of {self.machine}")
        return (self.folder / "machines" / machine if machine else self.folder) / "detector"

    def report(self) -> UPath:
        """Draw report.html and return its path."""
        from raysearch.report.html.page import write_report

        return write_report(self.folder)
