"""The single configuration of a search without validation IDs, which no score can choose."""

from collections.abc import Sequence

from raysearch.config import Value, default_value
from raysearch.errors import UserError
from raysearch.scoring.spec import InlierSpec
from raysearch.search.dimensions import Dimension, axes, is_exhausted, p_axes, select
from raysearch.search.warm_start import WarmStart, paper_start
from raysearch.study.space import Space, check_space

ALONE = {"trials": 1, "patience": None, "scheduler": "none", "finalists": "none"}
"""Strategy of a configuration that has no rival; its epoch is chosen by the validation loss."""


def single_configuration(
    space: Space, machine: str, starts: Sequence[WarmStart], where: str
) -> Space:
    """Reduce a space without validation IDs to one configuration.

    A space of several takes that of Table I, with `warm_start: paper`, or else the first of the
    warm starts, each value moved to the nearest of the space.

    Args:
        space: of a search, with or without validation IDs; one with them stays as it is.
        machine: target machine type.
        starts: of the command line.
        where: space file, for the refusal.

    Raises:
        UserError: nothing says which of several configurations to train.
    """
    if space.validation_ids:
        return space
    if not _is_single(space):
        if space.strategy.warm_start == "paper":
            starts = [paper_start(machine), *starts]
        if not starts:
            raise UserError(
                f"{where}: validation_ids: [] leaves nothing to choose by, and search holds "
                "several configurations; give each of its keys one value, or name one with "
                "`warm_start: paper` in strategy or --warm-start RUN"
            )
        space = _nearest(space, starts[0], where)
    strategy = space.strategy.model_dump() | ALONE
    return check_space(_content(space) | {"strategy": strategy}, where)


def _is_single(space: Space) -> bool:
    # One key: the inlier models are counted by themselves, as all are swept on an encoder.
    return len(space.search.specs) == 1 and is_exhausted(space, {0})


def _nearest(space: Space, start: WarmStart, where: str) -> Space:
    """Restrict a space to its configuration nearest to a warm start."""
    values = start.configuration.to_dict()

    def choose(name: str, dimension: Dimension) -> Value:
        value = dimension.nearest(values[name] if name in values else default_value(name))
        return int(value) if name == "batch_size" else value

    inlier = _inlier(space, start, where)
    search = {
        **select(space, axes(space), choose),
        "inlier": {inlier.name: [] if inlier.p is None else [inlier.p]},
    }
    return check_space(_content(space) | {"search": search}, where)


def _inlier(space: Space, start: WarmStart, where: str) -> InlierSpec:
    """Return the inlier model of a warm start with the nearest p, else the only one of the space.

    Raises:
        UserError: the space has several other models.
    """
    models = space.search.inlier
    name = start.inlier.name if start.inlier is not None else ""
    if name not in models and len(space.search.specs) > 1:
        raise UserError(
            f"{where}: search.inlier has no {name or 'model'} of the configuration from "
            f"{start.origin}; add it, or leave one model with one p"
        )
    if name not in models:
        return space.search.specs[0]
    axis = p_axes(space).get(name)
    p = start.inlier.p if start.inlier is not None else None
    return InlierSpec(name, None if axis is None or p is None else axis.nearest(p))


def _content(space: Space) -> dict[str, object]:
    return space.model_dump(mode="json", by_alias=True)
