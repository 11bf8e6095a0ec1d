"""The folder of a training: checkpoint, table, log and figures, kept up to date while it runs."""

from __future__ import annotations

import csv
import io
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cgdft.learning.training import checkpoint, curves
from cgdft.learning.training.evaluation import Evaluation
from cgdft.writing import write_whole

#: Figures are drawn after so many epochs.
EVERY = 10


@contextmanager
def told_of(folder: Path) -> Iterator[None]:
    """Inside, what the system refuses is told of as `output`."""
    try:
        yield
    except OSError as error:
        told = f"`output` must be a folder that can be written to, got {folder} ({error.strerror}); choose another place"
        raise OSError(error.errno, told) from error


class Output:
    """checkpoint.pt, log.csv, train.log, loss.png and parity.png in a folder, which is made.

    Args:
        folder: of them all.
        writes: whether this process writes, or only reads.
    """

    def __init__(self, folder: Path, writes: bool) -> None:
        self.folder, self.writes = folder, writes
        if writes:
            with told_of(self.folder):
                self.folder.mkdir(parents=True, exist_ok=True)
            self._log_to_file()

    def begin(self, same: Mapping[str, Any]) -> dict[str, Any] | None:
        """The checkpoint of an earlier run, if there is one; the table is made to end where it does.

        Raises:
            ValueError: it is of another training.
        """
        path = self.folder / "checkpoint.pt"
        if not path.is_file():
            return None
        state = checkpoint.read(path, same)
        if self.writes:
            self._table(state["history"])
        return state

    def checkpoint(self, state: Mapping[str, Any]) -> None:
        """Write the state of a training, in a new folder where its own has gone."""
        self.folder.mkdir(parents=True, exist_ok=True)
        checkpoint.write(self.folder / "checkpoint.pt", state)

    def line(self, history: Sequence[Mapping[str, Any]], evaluation: Evaluation) -> None:
        """The table with a new line, and now and then the figures."""
        self._table(history)
        if len(history) % EVERY == 0:
            self.draw(history, evaluation)

    def draw(self, history: Sequence[Mapping[str, Any]], evaluation: Evaluation) -> None:
        """The figures."""
        curves.save(curves.loss_figure(history), self.folder / "loss.png")
        curves.save(curves.parity_figure(evaluation), self.folder / "parity.png")

    def _table(self, history: Sequence[Mapping[str, Any]]) -> None:
        text = io.StringIO()
        columns = list(dict.fromkeys(name for row in history for name in row))
        table = csv.DictWriter(text, columns, lineterminator="\n")
        table.writeheader()
        table.writerows(history)
        write_whole(self.folder / "log.csv", text.getvalue().encode())

    def _log_to_file(self) -> None:
        log = logging.getLogger("cgdft.learning")
        path = str((self.folder / "train.log").resolve())
        for handler in [h for h in log.handlers if isinstance(h, logging.FileHandler)]:
            log.removeHandler(handler)
            handler.close()
        handler = _Log(path, delay=True, encoding="utf-8")
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        log.addHandler(handler)
        log.setLevel(logging.INFO)


class _Log(logging.FileHandler):
    """Says what is wrong as any other writer does: a full disk ends the training."""

    def handleError(self, record: logging.LogRecord) -> None:
        """What cannot be written for want of room is an error; anything else is told, as ever."""
        if isinstance(sys.exception(), OSError):
            raise
        super().handleError(record)
