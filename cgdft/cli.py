"""The command line: commands put together. They import what is heavy (torch, ASE, PySCF) when they run."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from typing import Annotated

import typer

from cgdft import __version__
from cgdft.commands import listing, solve, training, validation
from cgdft.commands.terminal import EXPECTED, OF_LIBRARIES, complain

#: The base of wrong options and arguments, in click or in typer's own copy of it.
USAGE: type[Exception] = typer.BadParameter.__mro__[2]
app = typer.Typer(
    name="cgdft",
    help="Coarse-grained density-functional theory: minimise an energy functional of Gaussian atomic multipoles.",
    epilog="Examples:\n\n"
    "cgdft solve water.xyz --model qeq-dipoles\n\n"
    "cgdft solve run.traj --index : --output charges.extxyz\n\n"
    "cgdft models\n\n"
    "cgdft cite qeq > cgdft.bib",
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"cgdft {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors; may stand anywhere.")] = False,
) -> None:
    pass


app.command(
    epilog="Examples:\n\n"
    "cgdft solve water.xyz\n\n"
    "cgdft solve ion.xyz --charge -1 --model qeq-dipoles --plot ion.png\n\n"
    "cgdft solve water.xyz --field 0 0 0.1 --json > water.json\n\n"
    "cgdft solve water.xyz --model mine.py\n\n"
    "cgdft solve run.traj --index ::10 --output charges.extxyz"
)(solve.solve)
app.command(
    epilog="Examples:\n\ncgdft validate water.xyz benzene.xyz --model qeq --model mine.py\n\n"
    "cgdft validate --suite molecules --definition MBIS --html report.html"
)(validation.validate)
app.command(
    epilog="Examples:\n\ncgdft reference molecules\n\ncgdft reference mine.py --workers 8 --export mine.extxyz\n\n"
    "cgdft reference chains --scheduler tcp://node17:8786"
)(validation.reference)
app.command()(listing.suites)
app.command()(listing.models)
app.command(epilog="Examples:\n\ncgdft cite\n\ncgdft cite qeq-dipoles --output paper.bib")(listing.cite)
app.command(epilog="Examples:\n\ncgdft train water.yaml\n\ntorchrun --nproc-per-node 2 -m cgdft train water.yaml")(
    training.train
)
app.command(epilog="Examples:\n\ncgdft evaluate run/model.safetensors test.extxyz --json")(training.evaluate)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, 2 after one line about an error, 130 when interrupted."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [one for one in given if one != "--debug"] or ["--help"]
    for name in ("stdout", "stderr"):  # None where the caller closed them
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
    try:
        with warnings.catch_warnings():
            if not debug:
                warnings.filterwarnings("ignore", message=OF_LIBRARIES)
                warnings.showwarning = lambda message, *_, **__: complain(str(message))
            code = int(app(given, prog_name="cgdft", standalone_mode=False) or 0)
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except USAGE as error:
        return _failed(f"{error.format_message()} (see cgdft {_command(given)}--help)")  # type: ignore[attr-defined]
    except EXPECTED as error:
        if debug:
            raise
        return _failed(str(error) or type(error).__name__)
    if code == 130:
        print("cgdft: interrupted", file=sys.stderr)
    return code


def _failed(message: str) -> int:
    complain(message)
    return 2


def _command(given: list[str]) -> str:
    commands = {one.callback.__name__ for one in app.registered_commands if one.callback}
    return f"{given[0]} " if given[0] in commands else ""
