"""References computed by a Dask cluster: processes on this machine, or a scheduler of many machines.

A worker that dies is replaced and its calculation is tried again, a few times; one that kills its worker every time fails
alone.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from cgdft.validation.dft.reference import Reference, compute, recall
from cgdft.validation.dft.request import Request

if TYPE_CHECKING:
    from distributed import Client

ATTEMPTS = 3  # after the first, where the worker dies
THREAD_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def answer(request: Request, folder: Path) -> Reference:
    """What a worker does, with one thread: the stored answer, or a new one, which it stores."""
    found = recall(request, folder)
    if found is None:
        found = compute(request, threads=1)
        found.save(request.path(folder))
    return found


def on_cluster(
    requests: Mapping[str, Request], folder: Path, *, workers: int, scheduler: str | None = None
) -> Generator[tuple[str, str]]:
    """Compute all requests, yielding (name, reason of failure or "") as each is done, its result in `folder`.

    Leaving early ends the processes.

    Args:
        requests: by name, the costly ones first.
        workers: processes of this machine, with one thread each.
        scheduler: instead of them, the address of a Dask scheduler with workers of its own (dask-jobqueue, for example).

    Raises:
        ImportError: Dask is not installed.
    """
    try:
        import dask
        from distributed import Client, LocalCluster, as_completed
    except ImportError as error:
        raise ImportError("`cgdft reference` needs dask: pip install 'cgdft[campaign]'") from error
    environment = dict.fromkeys(THREAD_LIMITS, "1")
    settings = {
        "distributed.nanny.pre-spawn-environ": environment,
        "distributed.scheduler.allowed-failures": ATTEMPTS,
        "distributed.comm.timeouts.connect": "60s",
        "logging.distributed": "critical",
    }
    with dask.config.set(settings):
        if scheduler is not None:
            with Client(scheduler) as client:  # type: ignore[no-untyped-call]
                yield from _gather(client, requests, folder, as_completed)
            return
        paths = {"PYTHONPATH": os.pathsep.join([*map(os.path.abspath, sys.path)])}
        with (
            LocalCluster(  # type: ignore[no-untyped-call]
                n_workers=workers,
                threads_per_worker=1,
                dashboard_address="127.0.0.1:0",
                env={**environment, **paths},
                silence_logs=50,
            ) as cluster,
            Client(cluster) as client,  # type: ignore[no-untyped-call]
        ):
            yield from _gather(client, requests, folder, as_completed)


def _gather(client: Client, requests: Mapping[str, Request], folder: Path, as_completed: type) -> Generator[tuple[str, str]]:
    futures = {
        client.submit(answer, request, folder, key=f"{name}-{request.key[:12]}", priority=-k, pure=False): name
        for k, (name, request) in enumerate(requests.items())
    }
    for future in as_completed(list(futures)):
        name = futures[future]
        error = future.exception()
        if error is None:
            path = requests[name].path(folder)
            if not path.exists():  # a machine that does not share our disk
                future.result().save(path)
        yield name, "" if error is None else _reason(error)
        future.release()


def _reason(error: BaseException) -> str:
    if type(error).__name__ == "KilledWorker":
        return f"the computing process died {ATTEMPTS + 1} times (out of memory?)"
    return f"{type(error).__name__}: {error}"
