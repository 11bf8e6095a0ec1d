"""What there is: the commands that list suites, models and their sources."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cgdft import pretrained
from cgdft.citations import bibtex, keys_of, references
from cgdft.commands.chosen_model import Choice
from cgdft.commands.terminal import model_names, show_rows
from cgdft.writing import write_whole


def suites() -> None:
    """List the suites of reference calculations that come with cgdft."""
    from cgdft.validation import suites

    rows = []
    for name in suites.names():
        kept = "stored" if suites.stored(name) else "computed when asked for"
        rows.append((name, str(len(suites.load(name))), kept, suites.about(name)))
    show_rows(("name", "calculations", "results", "what it holds"), rows)


def models() -> None:
    """List the models with what they are, where they stand in the space of approximations, and where they come from."""
    from dataclasses import astuple

    from cgdft.design_space import Place, places

    heads = [name.replace("_", " ") for name in Place.__dataclass_fields__]
    found = places()
    show_rows(("name", *heads, "charges"), [(record.name, *astuple(where), said) for record, where, said in found])
    notes = []
    for record, _, _ in found:
        choice = Choice(record.name)
        given = "those of the file" if choice.takes_charges else "an example"
        needs = f" Needs {', '.join(record.needs)}; on the command line, {given}." if record.needs else ""
        notes.append((record.name, record.about + needs, ", ".join(record.keys)))
    print()
    show_rows(("name", "what it is", "source"), notes)


def cite(
    model: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MODEL]...", help="Models used, or keys of references.", autocompletion=model_names),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="A file for it instead of the terminal.")] = None,
) -> None:
    """Print BibTeX for cgdft and for the sources of MODEL."""
    if output is not None and output.exists():
        raise ValueError(f"`--output` must be a new file, got {output}, which exists; append what is printed to it")
    keys = ["cgdft"]
    for name in model or []:
        if name in pretrained.names() or name.endswith((".safetensors", ".py")):
            from cgdft.commands.chosen_model import Choice

            keys += Choice(name).for_all().references
        else:
            keys += [name] if name in references() else keys_of(name)
    text = bibtex(keys)
    if output is None:
        print(text)
    else:
        write_whole(output, text + "\n")
