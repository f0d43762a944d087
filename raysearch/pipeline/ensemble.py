"""An ensemble of finished studies: a study of the method `parallel`, with a single trial."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from upath import UPath

from raysearch.config import PARALLEL, digest
from raysearch.data.dataset import TrialData
from raysearch.errors import UserError
from raysearch.pipeline.earlier_study import check_ensemble_folder, renew_study
from raysearch.pipeline.finish import finish_study
from raysearch.pipeline.finished import FinishedStudy, open_recordings, read_finished
from raysearch.pipeline.plan import PlannedEnsemble
from raysearch.pipeline.prepare import create_study, study_lock
from raysearch.pipeline.request import Ending
from raysearch.report.progress import ProgressBars, no_progress
from raysearch.scoring.spec import InlierSpec
from raysearch.storage import AnyPath
from raysearch.study.confidence import RULE, UNJUDGED, Confidence
from raysearch.study.context import StudyContext
from raysearch.study.folder import study_name
from raysearch.study.manifest import read_manifest
from raysearch.study.members import NO_INLIER, Weights
from raysearch.study.ranking import Ranking
from raysearch.study.records import Proposal, Record, State
from raysearch.study.resampling import resample_scores
from raysearch.study.space import Space, check_space
from raysearch.study.winner import Winner
from raysearch.training.configuration import Configuration
from raysearch.training.outcome import InlierResult

if TYPE_CHECKING:
    from raysearch.detector import Detector
    from raysearch.pipeline.combine import Combination

NO_MODEL = InlierSpec("none", None)


@dataclass(frozen=True)
class EnsembleRequest:
    """Request of an ensemble.

    Attributes:
        planned: the ensemble.
        ending: final test, report.
        data: folder of the data set; None takes the one of the first member.
        fresh: delete another study that is in the folder.
        are_locked: the members are locked by the run that searched them.
    """

    planned: PlannedEnsemble
    ending: Ending
    data: AnyPath | None = None
    fresh: bool = False
    are_locked: bool = False


@dataclass(frozen=True)
class EnsembleConclusion:
    """The conclusion of an ensemble: nothing is trained.

    Attributes:
        studies: members by name.
        data: recordings of the members.
        weights: of the members.
    """

    studies: Mapping[str, FinishedStudy]
    data: TrialData
    weights: Weights

    @cached_property
    def combination(self) -> "Combination":
        """The members' detectors with their weights, and the scores of the validation clips."""
        # Now: torch takes seconds to import, and a finished ensemble needs none of it.
        from raysearch.pipeline.combine import combine

        return combine(self.studies, self.data, self.weights)

    @property
    def signature(self) -> str:
        """Signature of the members, the rule of their weights, and all IDs."""
        members = {
            name: [study.winner.to_json(), study.winner.space_content(study.space.fixed)]
            for name, study in self.studies.items()
        }
        space = next(iter(self.studies.values())).space
        ids = [space.validation_ids, space.test_ids]
        return digest({"members": members, "weights": self.weights, "ids": ids})

    def record(self) -> Record:
        """Score the validation IDs and make the record of the only trial."""
        start = time.perf_counter()
        row = InlierResult(NO_MODEL.name, NO_MODEL.p)
        if self.combination.validation_clips:
            score = self.combination.validation_score
            row = replace(
                row,
                val_score=score.hmean,
                auc={identity: auc for identity, (auc, _) in score.per_id.items()},
                pauc={identity: pauc for identity, (_, pauc) in score.per_id.items()},
            )
        return Record(
            Proposal(0, Configuration(None, None, None, (("method", PARALLEL),))),
            State.COMPLETE,
            self.signature,
            epochs=0,
            seed=0,
            host="",
            score_seconds=time.perf_counter() - start,
            rows=(row,),
        )

    def detector(self, winner: Winner) -> "Detector":
        """Return the ensemble."""
        return self.combination.ensemble

    def confidence(
        self, ranking: Ranking, previous: Confidence, on_encoder: Callable[[int], None]
    ) -> Confidence:
        """Measure the error of the score over other validation clips."""
        members = ((self.signature, NO_MODEL.name, NO_MODEL.p),)
        if (previous.of, previous.rule) == (members, RULE):
            return previous
        if not self.combination.validation_clips:
            return Confidence(of=members, missing=UNJUDGED)
        scores = [self.combination.validation_clips]
        on_encoder(1)
        return replace(resample_scores(scores, []), of=members)


def plan_ensemble(
    folders: Sequence[UPath], out: UPath, name: str | None, weights: Weights
) -> PlannedEnsemble:
    """Plan an ensemble of runs, whose names are those of their folders.

    Args:
        folders: of finished studies.
        out: folder of the results.
        name: of the ensemble's folder; None is `ensemble-<machine>`.
        weights: of the members.

    Raises:
        UserError: two folders have the same name.
    """
    names = [folder.absolute().name for folder in folders]
    if twice := sorted({each for each in names if names.count(each) > 1}):
        raise UserError(f"{twice[0]} is named twice; the members of an ensemble differ in name")
    machine = read_manifest(folders[0]).machine
    folder = out / (name or study_name(machine, "ensemble", several=True))
    return PlannedEnsemble(folder, dict(zip(names, folders, strict=True)), weights)


def make_ensemble(request: EnsembleRequest, bars: ProgressBars = no_progress) -> None:
    """Combine the detectors of finished studies, and test the ensemble once.

    The same call again finishes what is missing; if a member has another winner by now, the
    ensemble is made anew.

    Args:
        request: of the ensemble.
        bars: show the progress.

    Raises:
        UserError: the studies do not fit together, a run searches one of them, or the folder holds
            another study.
    """
    planned = request.planned
    if planned.folder.absolute() in [folder.absolute() for folder in planned.members.values()]:
        raise UserError(f"{planned.folder} is a member; choose another --name for the ensemble")
    with ExitStack() as locks:
        for folder in [] if request.are_locked else planned.members.values():
            locks.enter_context(study_lock(folder))
        studies = {name: read_finished(folder) for name, folder in planned.members.items()}
        check_members(list(studies.values()))
        space = ensemble_space(studies, planned.weights)
        check_ensemble_folder(planned, fresh=request.fresh)
        locks.enter_context(study_lock(planned.folder))
        opened, data = open_recordings(next(iter(studies.values())), request.data)
        source = replace(opened.source, needs_others=False)
        context = StudyContext(planned.folder, source, data.fingerprint, space)
        conclusion = EnsembleConclusion(studies, data, planned.weights)
        _write(context, conclusion, request)
        finish_study(conclusion, context, data, request.ending, bars)


def check_members(studies: Sequence[FinishedStudy]) -> None:
    """Check that studies can be the members of an ensemble.

    Raises:
        UserError: they cannot; the message names the first that does not fit.
    """
    if len(studies) < 2:
        raise UserError("an ensemble needs at least two runs")
    first = studies[0]
    for study in studies:
        where = study.folder
        if study.space.members:
            raise UserError(f"{where} is an ensemble; name its members instead")
        if not (where / "detector" / "detector.json").is_file():
            raise UserError(f"{where} has no detector yet; let its run end first")
        if study.manifest.machine != first.manifest.machine:
            raise UserError(
                f"{where} is of {study.manifest.machine}, {first.folder} of "
                f"{first.manifest.machine}; an ensemble is of one machine type"
            )
        if study.winner.data != first.winner.data:
            raise UserError(f"{where} was searched on other recordings than {first.folder}")
        for key in ("validation_ids", "test_ids"):
            values = getattr(study.space, key), getattr(first.space, key)
            if values[0] != values[1]:
                raise UserError(
                    f"{where} has {key} {', '.join(values[0])}, {first.folder} has "
                    f"{', '.join(values[1])}; the members of an ensemble share them"
                )


def ensemble_space(studies: Mapping[str, FinishedStudy], weights: Weights) -> Space:
    """Return the space of an ensemble: each member has a single configuration, its winner."""
    first = next(iter(studies.values())).space
    # Of the options only those matter that select and decode recordings; they must fit together.
    fixed = first.fixed.model_dump() | {"method": PARALLEL, "epochs": first.fixed.epochs or 1}
    members = {
        name: study.winner.space_content(study.space.fixed) for name, study in studies.items()
    }
    content = {
        "validation_ids": list(first.validation_ids),
        "test_ids": list(first.test_ids),
        "search": NO_INLIER,
        "fixed": fixed,
        "strategy": {"trials": 1, "finalists": "none"},
        "members": members,
        "weights": weights,
    }
    return check_space(content, f"ensemble of {', '.join(studies)}")


def _write(context: StudyContext, conclusion: EnsembleConclusion, request: EnsembleRequest) -> None:
    """Write the study with its only trial, unless it is there with the same members."""
    study = context.study
    earlier = study.record(0) if study.exists() else None
    is_same = earlier is not None and earlier.encoder == conclusion.signature
    if is_same and not request.fresh:
        return
    record = conclusion.record()
    if study.exists() and not request.fresh:
        renew_study(context.folder, context.space)
    folders = ", ".join(str(folder) for folder in request.planned.members.values())
    create_study(
        context,
        conclusion.data,
        space_file=f"ensemble of {folders}",
        command=request.ending.command,
        fresh=request.fresh,
    )
    study.propose(record.proposal)
    study.add(record)
