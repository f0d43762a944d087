"""Members of the method `parallel`: the studies whose detectors are averaged.

A member is a part of a space file: what its space has other than that of all members.
"""

from collections.abc import Hashable, Mapping
from typing import Any, Literal

from raysearch.config import PARALLEL, Options
from raysearch.training.conditions import has_effect

Weights = Literal["equal", "validation"]
"""Weights of the members: all equal, or chosen on the clips of the validation IDs."""

Content = Mapping[str, Any]
"""Content of a space file, or of a part of it."""

Members = dict[str, dict[str, dict[str, Any]]]
"""Members by name, each a part of a space file."""

NO_INLIER: Content = {"inlier": {"none": []}}

DEFAULT: Mapping[str, Content] = {
    "proposed": {"fixed": {"method": "proposed"}},
    "serial_aam": {"fixed": {"method": "serial_aam"}},
    "ddcsad": {"fixed": {"method": "ddcsad"}},
    "autoencoder": {"fixed": {"method": "autoencoder"}, "search": NO_INLIER},
    "flow": {"fixed": {"method": "flow"}, "search": NO_INLIER},
}
"""Members that stand in for the parallel system of the paper's Table II.

That system (Lopez et al. 2021) has five models, detectors by outlier exposure and by inlier models.
Its parts are not published in detail, so these are five complementary detectors instead.
"""


def default_members() -> Members:
    """Return the members of a space that names none."""
    return {name: {k: dict(v) for k, v in part.items()} for name, part in DEFAULT.items()}


def member_content(content: Content, member: Content) -> dict[str, Any]:
    """Return the content of a member's space file.

    The dimensions of all members that have no effect with the member's method, or that the member
    fixes, are left out.

    Args:
        content: of the space file of all members.
        member: part of a space file, by which the member differs.
    """
    parts = {key: {**content.get(key, {}), **member.get(key, {})} for key in ("fixed", "strategy")}
    # Not validated here: the space of the member names a mistake with its key.
    options = Options().model_dump() | {
        name: value for name, value in parts["fixed"].items() if isinstance(value, Hashable)
    }
    has_members = options["method"] == PARALLEL
    common = content.get("search", {})
    fixed = member.get("fixed", {})
    effective = {
        name: values
        for name, values in common.items()
        if name not in fixed and (has_members or has_effect(name, options))
    }
    rest = {key: value for key, value in content.items() if key not in ("members", "weights")}
    return {**rest, **parts, "search": effective | dict(member.get("search", {}))}
