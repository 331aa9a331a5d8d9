"""Fits by several processes and by a Dask cluster give the parameters of a single process."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from linear_rows_worker import fit, frames, values

from forgefield.errors import ConfigError
from forgefield.training.linear.parallel import DaskShare, ProcessShare, share_out

WORKER = Path(__file__).with_name("linear_rows_worker.py")


class _Set:
    def __init__(self, sizes):
        self.frames = [range(n) for n in sizes]


def test_work_is_shared_out_completely_and_evenly():
    sizes = [2, 9, 4, 4, 1, 7, 3]
    parts = share_out(_Set(sizes), 3)
    assert sorted(i for part in parts for i in part) == list(range(7))
    loads = [sum(sizes[i] for i in part) for part in parts]
    assert max(loads) - min(loads) <= 1
    assert share_out(_Set([4]), 2) == [[0], []]


def test_two_processes_give_the_parameters_of_one(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    base = os.environ | {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": "2",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, str(WORKER), str(tmp_path)]
    processes = [subprocess.Popen(command, env=base | {"RANK": str(rank)}) for rank in range(2)]
    assert [p.wait(120) for p in processes] == [0, 0]
    first, second = (np.load(tmp_path / f"{rank}.npz") for rank in range(2))
    expected = {"alone": values(None), "validated": values(None, solver="ridge", ridge=None, folds=3)}
    for name, alone in expected.items():
        np.testing.assert_array_equal(first[name], second[name])
        np.testing.assert_allclose(first[name], alone, rtol=1e-10, atol=1e-10 * np.abs(alone).max())


def test_dask_workers_give_the_parameters_of_one():
    dask = pytest.importorskip("dask.distributed")
    with (
        dask.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None
        ) as cluster,
        dask.Client(cluster) as client,
    ):
        shared = fit(DaskShare(client))
        several = values(DaskShare(client, parts_per_worker=2))
    alone = fit(None)
    assert shared.n_rows == alone.n_rows
    for found in (shared.solution.values, several):
        np.testing.assert_allclose(
            found, alone.solution.values, rtol=1e-10, atol=1e-10 * np.abs(alone.solution.values).max()
        )


def test_more_processes_than_structures_leave_some_idle():
    parts = share_out(_Set([len(a) for a in frames(2)]), 4)
    assert sorted(map(len, parts)) == [0, 0, 1, 1]


def test_a_share_needs_a_process_group():
    with pytest.raises(ConfigError, match="init_process_group"):
        values(ProcessShare())
