"""References computed in processes of their own, each with one thread: several at once, and none takes another along.

A process is this module's `serve` in a fresh interpreter: no fork of a process that may hold threads, no second import
of the user's script. It is told what to compute on stdin and leaves the result in a folder.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from threading import Lock

from cgdft.validation.campaigns.cluster import THREAD_LIMITS, answer
from cgdft.validation.dft.request import Request

START = "from cgdft.validation.campaigns.workers import serve; serve()"


def on_processes(requests: Mapping[str, Request], folder: Path, *, workers: int) -> Generator[tuple[str, str]]:
    """Compute all requests, yielding (name, reason of failure or "") as each is done, its result in `folder`.

    Leaving the iteration early, by an exception such as KeyboardInterrupt too, ends the processes.

    Args:
        requests: by name, the costly ones first.
        workers: processes at most at a time.
    """
    running: set[subprocess.Popen[bytes]] = set()
    lock, stopped = Lock(), False

    def one(request: Request) -> str:
        with lock:
            if stopped:
                return "stopped"
            process = _start()
            running.add(process)
        said, complaints = process.communicate(pickle.dumps((request, folder)))
        with lock:
            running.discard(process)
        if process.returncode == 0:
            return said.decode()
        last = complaints.decode(errors="replace").strip().splitlines()[-1:]
        cause = " (out of memory?)" if process.returncode == -9 else ""
        return f"the computing process ended with code {process.returncode}{cause}{': ' + last[0] if last else ''}"

    pool = ThreadPoolExecutor(max(1, min(workers, len(requests))))
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


def _start() -> subprocess.Popen[bytes]:
    paths = os.pathsep.join(os.path.abspath(path) for path in sys.path)
    pipe = subprocess.PIPE
    environment = {**os.environ, **dict.fromkeys(THREAD_LIMITS, "1"), "PYTHONPATH": paths}
    return subprocess.Popen([sys.executable, "-P", "-c", START], stdin=pipe, stdout=pipe, stderr=pipe, env=environment)


def serve() -> None:
    """Answer a pickled (request, folder) on stdin with the reason of failure, or nothing, on stdout."""
    request, folder = pickle.load(sys.stdin.buffer)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer
    message = ""
    try:
        answer(request, folder)
    except Exception as error:  # every failure is reported by its molecule's name
        message = f"{type(error).__name__}: {error}"
    with answers:
        answers.write(message)
