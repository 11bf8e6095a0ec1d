"""What the command line reads, writes and prints."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cgdft.cut_files import note_on_end

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ase import Atoms
    from rich.measure import Measurement
    from rich.progress import Progress

    from cgdft.solution import Solution

#: What a wrong input or a failed calculation raises; anything else is a mistake of ours and keeps its traceback.
EXPECTED = (ValueError, TypeError, RuntimeError, OSError, ImportError, MemoryError)
#: What begins warnings of libraries that mean nothing to a user: torch's of e3nn 0.4.4.
OF_LIBRARIES = "The TorchScript type system"
#: What `--model` takes.
OF_MODEL = (
    "A model of cgdft models; a file of cgdft train; or a Python file that defines model: a cgdft.Model, or a function of a "
    "structure that returns one."
)
#: The structure that is read of several, if none is chosen.
LAST = "-1"
#: Columns of characters where there is no terminal.
WIDE = 200


def check_output(option: str, path: Path | None, suffixes: Sequence[str], *inputs: str) -> None:
    """Raise a ValueError where a file to be written has another suffix, is in no folder, or is one that is read."""
    if path is None:
        return
    if path.suffix not in suffixes:
        raise ValueError(f"`{option}` must end in {' or '.join(suffixes)}, got {path}")
    if not path.parent.is_dir():
        raise ValueError(f"`{option}` must be in a folder that exists, got {path}")
    if path.exists() and any(Path(one).exists() and path.samefile(one) for one in inputs):
        raise ValueError(f"`{option}` must be another file than the one that is read, got {path} for both")


def read(file: str, index: str) -> list[Atoms]:
    """Structures of a file; whatever a reader does with a broken one becomes a ValueError."""
    if not Path(file).is_file():
        raise FileNotFoundError(f"{file!r} is a folder: name a file in it" if Path(file).is_dir() else f"no file {file!r}")
    try:
        structures = _read(file, index)
    except Exception as error:
        if isinstance(error, StopIteration) and index != LAST:
            raise ValueError(f"{file}: must have a structure {index!r}, got fewer; they are counted from 0") from error
        why = f"unknown element {error}" if isinstance(error, KeyError) else f"{type(error).__name__}: {error}"
        where = f", structure {whole}" if (whole := _readable(file)) else ""
        raise ValueError(f"{file}: not readable as structures with index {index!r} ({why}{where})") from error
    if not structures:
        raise ValueError(f"{file}: no structures with index {index!r}")
    if file.lower().endswith(".pdb") and _charges_of_pdb(file):
        complain(f"the formal charges of atoms in {file} are not read: give --charge")
    if Path(file).suffix.lower() in (".xyz", ".extxyz") and (note := note_on_end(file)):
        complain(note)
    if index == LAST and _has_second(file):
        complain(f"the last of several structures of {file}; --index : takes all")
    return structures


@contextmanager
def _quietly() -> Iterator[None]:
    """Without warnings of readers."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _read(file: str, index: str) -> list[Atoms]:
    from cgdft.commands.reading import read

    with _quietly():
        return read(file, index)


def _charges_of_pdb(file: str) -> bool:
    """Whether columns 79 and 80 state any."""
    return any(line[78:80].strip(" +-") for line in Path(file).read_text().splitlines() if line.startswith(("ATOM", "HETATM")))


def _readable(file: str) -> int:
    """How many structures a file has before one that cannot be read."""
    from ase.io import iread

    count = 0
    try:
        with _quietly():
            for _ in iread(file, index=":"):
                count += 1
    except Exception:  # whatever a reader raises: it has been told already
        return count
    return 0


def _has_second(file: str) -> bool:
    try:
        return bool(_read(file, "1:2"))
    except Exception:  # whatever a reader raises where there is none
        return False


def places_of(index: str, count: int) -> list[int]:
    """Where in a file structures are that were read with an index; their numbers among these if it counts from the end."""
    from ase.utils import string2index

    which = string2index(index)
    if isinstance(which, slice) and (which.start or 0) >= 0 and (which.step or 1) > 0:
        return [(which.start or 0) + k * (which.step or 1) for k in range(count)]
    return [which] if isinstance(which, int) and which >= 0 else list(range(count))


def write(path: Path, atoms: list[Atoms], solution: Solution, append: bool, places: list[int]) -> None:
    """Structures of a batch with their results, and their places among several as `index`, as extended xyz."""
    from ase.io import write

    from cgdft.ase import annotated

    found = [annotated(one, solution, s) for s, one in enumerate(atoms)]
    for one, place in zip(found, places, strict=False):
        one.info["index"] = place
    write(path, found, format="extxyz", append=append)


def progress() -> Progress:
    """A bar on stderr, where that is a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    return Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())


def show(what: Any) -> None:
    """Print a table or the like: as wide as the terminal, but no narrower than where something would be cut.

    Elsewhere wide enough for all tables, and without control codes.
    """
    from rich.console import Console

    width = WIDE if not sys.stdout.isatty() else max(Console().width, widths(what).minimum)
    Console(width=width).print(what)


def show_rows(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows with names first; in a terminal too narrow for many columns, with one for all but the names."""
    from rich.console import Console
    from rich.table import Table

    def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
        made = Table(box=None, pad_edge=False)
        for k, head in enumerate(heads):
            made.add_column(head, no_wrap=k == 0)
        for row in rows:
            made.add_row(*row)
        return made

    whole = table(heads, rows)
    needed = widths(whole).maximum if len(heads) > 4 else widths(whole).minimum
    if sys.stdout.isatty() and needed > Console().width:
        rows = [(row[0], ", ".join(f"{head}: {value}" for head, value in zip(heads[1:], row[1:], strict=True))) for row in rows]
        whole = table((heads[0], ""), rows)
    show(whole)


def widths(what: Any) -> Measurement:
    """The least and the most columns of characters that something takes."""
    from rich.console import Console
    from rich.measure import Measurement

    to = Console(width=WIDE)
    return Measurement.get(to, to.options, what)


def complain(message: str) -> None:
    """One line on stderr."""
    print("cgdft:", " ".join(message.split()), file=sys.stderr)


def model_names(incomplete: str) -> list[tuple[str, str]]:
    """Completions of a model's name, with what it is."""
    from cgdft.citations import models

    return [(one.name, one.about) for one in models() if one.name.startswith(incomplete)]


def models_and_files(incomplete: str) -> list[tuple[str, str]]:
    """Completions of `--model`: names, trained models, and files."""
    import glob

    from cgdft import pretrained

    kinds = {".py": "a Python file", ".safetensors": "a trained model"}
    files = [(path, what) for end, what in kinds.items() for path in sorted(glob.glob(f"{glob.escape(incomplete)}*{end}"))]
    trained = [(name, "trained, comes with the package") for name in pretrained.names() if name.startswith(incomplete)]
    return [*model_names(incomplete), *trained, *files]


def suite_names(incomplete: str) -> list[str]:
    """Completions of a suite."""
    from cgdft.validation.suites import names

    return [name for name in names() if name.startswith(incomplete)]
