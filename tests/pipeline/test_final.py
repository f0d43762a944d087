"""Lines of the log about a final test."""

from raysearch.pipeline.final import format_official
from raysearch.scoring.official import OfficialResult, OfficialScores

BOTH = OfficialScores(
    "3", 0.8, 0.6, 0.8, 0.6, 0.5, 0.5, 0.5, official_2021=0.685714, official_2022=0.5
)


def test_the_official_scores_are_a_line_that_says_what_is_left_out() -> None:
    line = "official scores over source and target domain: 2021 0.6857, from 2022 on 0.5000"
    assert format_official(OfficialResult((BOTH,))) == line
    alone = OfficialScores("4", source_auc=0.7, note="no target clips")
    assert format_official(OfficialResult((alone,))) == (
        "official scores over source and target domain: 2021 none, from 2022 on none "
        "(score of 2021 over 0 of 1 test IDs; score of 2022 over 0 of 1 test IDs; "
        "ID 4: no target clips)"
    )
