"""Figure 3 of the paper: embeddings of three systems, in six panels."""

from collections.abc import Sequence

from plotly.subplots import make_subplots
from upath import UPath

from raysearch.report.clips.shown import read_clips
from raysearch.report.html.embeddings import by_label, by_product, hide_scales
from raysearch.report.html.page import render
from raysearch.report.html.parts import Absent, Chart, Page, Part, Section
from raysearch.report.html.style import apply_style
from raysearch.storage import write_text
from raysearch.study.systems import SYSTEMS, system_folder

SYSTEMS_OF = SYSTEMS["figure3"]
PANELS = "abcdef"
HEIGHT = 1150
"""Height of the panels of a machine type in px."""


def write_figure_three(out: UPath, machines: Sequence[str], seeds: int) -> list[UPath]:
    """Write the page of Figure 3, with six panels for each machine type and seed.

    The dots are clips that a search may use: held-out training clips and the test clips of the
    validation IDs. Those of the test IDs are left out.

    Args:
        out: folder of the results, with a study of each system.
        machines: machine types.
        seeds: number of repetitions of each study.

    Returns:
        Path of the page.
    """
    sections = [
        Section(machine, machine, "", [_panels(out, machine, seed) for seed in range(seeds)])
        for machine in machines
    ]
    lead = (
        "Embeddings of clips by three systems, placed by t-SNE: on the left coloured by product "
        "ID, on the right by label. A good encoder keeps product IDs apart, other machine types "
        "away, and anomalies outside the normal clips of their ID."
    )
    notes = [f"{each.label}: {each.note}." for each in SYSTEMS_OF if each.note]
    page = Page(f"raysearch · {out}", "Figure 3", lead, [], notes, sections)
    write_text(out / "figure3.html", render(page))
    return [out / "figure3.html"]


def _panels(out: UPath, machine: str, seed: int) -> Part:
    """Return the panels of a machine type: a row for each system."""
    title = f"{machine}, seed {seed}"
    titles = [
        f"({PANELS[2 * row + column]}) {system.label}"
        for row, system in enumerate(SYSTEMS_OF)
        for column in range(2)
    ]
    figure = make_subplots(len(SYSTEMS_OF), 2, subplot_titles=titles, vertical_spacing=0.05)
    seen: set[str] = set()
    for row, system in enumerate(SYSTEMS_OF, start=1):
        clips = read_clips(system_folder(out, system.name, machine, seed))
        if not clips:
            reason = f"The study of {system.label} lacks its clips; the same command collects them."
            return Absent(title, reason)
        for column, clouds in enumerate((by_product(clips), by_label(clips)), start=1):
            for cloud in clouds:
                # Each name stands in the legend once.
                cloud.legendgroup, cloud.showlegend = cloud.name, cloud.name not in seen
                seen.add(cloud.name)
                figure.add_trace(cloud, row=row, col=column)
    caption = (
        "In the panels of DDCSAD each product ID has a network of its own, so only the dots of one "
        "ID compare. Distances between groups mean little."
    )
    chart = hide_scales(apply_style(figure, HEIGHT))
    return Chart(f"{machine}-{seed}", title, chart, caption, min_width=700)
