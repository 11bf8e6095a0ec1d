"""References computed in processes of their own, each with one thread: several at once, and none takes another along.

A process is this module's `serve` in a fresh interpreter: no fork of a process that may hold threads, no second import
of the user's script. It is told what to compute on stdin and leaves the result in the cache.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from threading import Lock
from typing import Any

START = "from cgdft.validation.workers import serve; serve()"


def compute(requests: Mapping[str, Mapping[str, Any]], processes: int) -> Generator[tuple[str, str]]:
    """Compute all requests, yielding (name, reason of failure or "") as each is done.

    Arguments: `requests` by name, the costly ones first, each as `serve` reads it; `processes` at most at a time.
    Leaving the iteration early, by an exception such as KeyboardInterrupt too, ends the processes.
    """
    running: set[subprocess.Popen[str]] = set()
    lock, stopped = Lock(), False

    def one(request: Mapping[str, Any]) -> str:
        with lock:
            if stopped:
                return "stopped"
            process = _start()
            running.add(process)
        answer, complaints = process.communicate(json.dumps(request))
        with lock:
            running.discard(process)
        if process.returncode == 0:
            return str(json.loads(answer)["error"])
        last = complaints.strip().splitlines()[-1:]
        cause = " (out of memory?)" if process.returncode == -9 else ""
        return f"the computing process ended with code {process.returncode}{cause}{': ' + last[0] if last else ''}"

    pool = ThreadPoolExecutor(max(1, min(processes, len(requests))))
    try:
        futures = {pool.submit(one, request): name for name, request in requests.items()}
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        with lock:
            stopped = True
            for process in running:
                process.kill()
        pool.shutdown(cancel_futures=True)


def _start() -> subprocess.Popen[str]:
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    paths = os.pathsep.join(os.path.abspath(path) for path in sys.path)
    pipe = subprocess.PIPE
    environment = {**os.environ, **one_thread, "PYTHONPATH": paths}
    return subprocess.Popen(
        [sys.executable, "-c", START], stdin=pipe, stdout=pipe, stderr=pipe, env=environment, encoding="utf-8"
    )


def serve() -> None:
    """Answer a request {"numbers", "positions" (angstrom), and arguments of `reference`} on stdin."""
    from ase import Atoms

    from cgdft.validation.reference import reference

    request = json.load(sys.stdin)
    atoms = Atoms(request.pop("numbers"), request.pop("positions"))
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer
    message = ""
    try:
        reference(atoms, **request, threads=1)
    except Exception as error:  # every failure is reported by its molecule's name
        message = f"{type(error).__name__}: {error}"
    with answers:
        json.dump({"error": message}, answers)
