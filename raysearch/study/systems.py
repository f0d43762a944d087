"""The systems that the paper compares: the rows of Tables II and III, the columns of Figure 3."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from upath import UPath

from raysearch.config import PARALLEL
from raysearch.errors import UserError
from raysearch.study import paper
from raysearch.study.folder import study_name
from raysearch.study.members import NO_INLIER, Content, member_content
from raysearch.study.paper import PaperRow
from raysearch.study.space import Space, check_space

Target = Literal["table1", "table2", "table3", "figure3"]
"""Tables and figures of the paper that can be reproduced."""


@dataclass(frozen=True)
class System:
    """A system of the paper.

    Attributes:
        name: of its studies.
        label: as the paper calls it.
        part: part of a space file, by which its space differs from the space of all systems.
        paper: its scores in the paper; None for a system of ours.
        note: difference between the paper's system and this one; empty if none is known.
        encoder_of: name of the system whose winner's encoder is scored without an inlier model;
            empty for a system that is searched.
    """

    name: str
    label: str
    part: Content
    paper: PaperRow | None = None
    note: str = ""
    encoder_of: str = ""


PROPOSED = System("proposed", "Proposed", {"fixed": {"method": "proposed"}}, paper.PROPOSED_ROW)
PARALLEL_SYSTEM = System(
    "parallel",
    "Parallel",
    {"fixed": {"method": "parallel"}},
    paper.PARALLEL_ROW,
    "five detectors of other kinds stand in for the original's, which are not published in detail",
)
SERIAL = System(
    "serial",
    "Serial",
    {"fixed": {"method": "serial"}},
    paper.SERIAL_ROW,
    "the recipe of the paper's first author stands in for the original network",
)
DDCSAD = System(
    "ddcsad",
    "DDCSAD",
    {"fixed": {"method": "ddcsad"}, "search": NO_INLIER},
    paper.DDCSAD_ROW,
    "the original's metric loss, its weight and the network are not published; these are ours",
)
WITHOUT_MIXUP = System(
    "without-mixup",
    "without Mixup",
    {"fixed": {"method": "proposed", "mixup": "off"}},
    paper.WITHOUT_MIXUP_ROW,
)
WITHOUT_INLIER = System(
    "without-h",
    "without h",
    {"fixed": {"method": "proposed"}},
    paper.WITHOUT_INLIER_ROW,
    "the encoder of the proposed system, scored by the probability of the product ID",
    encoder_of="proposed",
)
PRODUCT_IDS = System(
    "only-product-ids",
    "only product IDs",
    {"fixed": {"method": "proposed", "machine_loss": False}},
    paper.PRODUCT_IDS_ROW,
    "with Mixup; the paper does not say whether its row has it",
)

SYSTEMS: Mapping[Target, tuple[System, ...]] = {
    "table1": (PROPOSED,),
    "table2": (PARALLEL_SYSTEM, SERIAL, DDCSAD, PROPOSED),
    "table3": (PROPOSED, WITHOUT_MIXUP, WITHOUT_INLIER, PRODUCT_IDS),
    "figure3": (DDCSAD, PROPOSED, PRODUCT_IDS),
}
"""Systems of each table and figure, in the paper's order."""


def system_space(space: Space, system: System, seed: int) -> Space:
    """Return the space of a system.

    Args:
        space: of all systems.
        system: that is searched.
        seed: added to the seed of the space.

    Raises:
        UserError: the space lacks what the system needs.
    """
    content = space.model_dump(mode="json", by_alias=True)
    # "Without h" is a system of its own.
    inliers = {name: ps for name, ps in content["search"]["inlier"].items() if name != "none"}
    if not inliers:
        raise UserError("search.inlier: the paper's systems need an inlier model other than none")
    content["search"]["inlier"] = inliers
    content["strategy"]["seed"] += seed
    part = member_content(content, system.part)
    if space.members and part["fixed"]["method"] == PARALLEL:
        part |= {"members": content["members"], "weights": content["weights"]}
    return check_space(part, f"the space of {system.name}")


def system_folder(out: UPath, system: str, machine: str, seed: int) -> UPath:
    """Return the folder of a system's study.

    Args:
        out: folder of the results.
        system: name of the system.
        machine: machine type.
        seed: number of the repetition, from 0.
    """
    name = f"{system}-seed{seed}" if seed else system
    return out / study_name(machine, name, several=True)
