import os
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from raysearch.scoring.fitting import FitError, fit_rows, in_parallel, one_thread
from raysearch.scoring.inlier import InlierSpec, load

FIRST_FIT = """
import numpy as np
from threadpoolctl import threadpool_info
from raysearch.scoring import inlier

def watched(*arguments):
    formula = fit_formula(*arguments)
    print([(pool["prefix"], pool["num_threads"]) for pool in threadpool_info()])
    return formula

fit_formula, inlier._fit_formula = inlier._fit_formula, watched
rows = np.random.default_rng(0).standard_normal((50, 5))
inlier.fit(inlier.InlierSpec("gmm", 2), rows, seed=0, reg_covar=1e-6, direct=None)
"""
"""The first fit of a process, which imports the model."""


def test_an_encoder_has_collapsed_if_all_segments_are_equal() -> None:
    rows = np.random.default_rng(0).standard_normal((5, 3))
    # A unit that is always 0 is no collapse, nor is one that alone differs.
    for kept in ([0, 1], [0], [2]):
        alive = np.zeros((5, 3))
        alive[:, kept] = rows[:, kept]
        np.testing.assert_array_equal(fit_rows(alive, fewest=2, model="gmm"), alive)
    alike = np.repeat(rows[:, :1], 3, axis=1)
    np.testing.assert_array_equal(fit_rows(alike, fewest=2, model="gmm"), alike)
    with pytest.raises(FitError, match="gmm: all 5 embeddings are equal"):
        fit_rows(np.repeat(rows[:1], 5, axis=0), fewest=2, model="gmm")


def test_the_first_fit_of_a_process_has_one_thread_of_every_library() -> None:
    many = {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", FIRST_FIT],
        env=os.environ | many,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "libgomp" in done.stdout  # scikit-learn's, which the import has loaded
    assert "2" not in done.stdout.replace("libgomp", "")


def pools(job: int) -> tuple[int, list[int]]:
    warnings.warn("k-means has fewer clusters", UserWarning, stacklevel=1)
    return job, [pool["num_threads"] for pool in threadpool_info()]


@pytest.mark.parametrize("threads", [1, 3])
def test_each_of_several_threads_has_one_of_every_library(threads: int) -> None:
    load(InlierSpec("gmm", 2))
    with threadpool_limits(2):
        before, filters = pools_now(), list(warnings.filters)
        done = in_parallel(pools, range(20), threads)
        assert pools_now() == before
        assert list(warnings.filters) == filters
    assert [job for job, _ in done] == list(range(20))
    assert {count for _, counts in done for count in counts} == {1}


def pools_now() -> list[int]:
    return [pool["num_threads"] for pool in threadpool_info()]


def test_threads_that_limit_themselves_leave_the_limit_to_the_others() -> None:
    meeting = threading.Barrier(2, timeout=60)

    def work(job: int) -> set[int]:
        with one_thread():
            meeting.wait()
        if job:  # the other has ended its own limit
            meeting.wait()
            return set(pools_now())
        meeting.wait()
        return {1}

    load(InlierSpec("gmm", 2))
    with threadpool_limits(2):
        assert in_parallel(work, range(2), 2) == [{1}, {1}]


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_of_a_job_is_raised(threads: int) -> None:
    def work(job: int) -> float:
        return 1 / (job - 2)

    with pytest.raises(ZeroDivisionError):
        in_parallel(work, range(5), threads)
