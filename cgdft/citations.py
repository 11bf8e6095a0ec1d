"""Which models there are and what to cite for them, read from their source files without importing any of them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent


@dataclass(frozen=True)
class ModelRecord:
    """What a source file in `functionals/models` says about its model.

    Attributes:
        name: on the command line, `qeq-dipoles`.
        maker: the callable that makes it, `QEqDipoles`.
        module: where it is defined, `cgdft.functionals.models.qeq_dipoles`.
        about: first line of the module's docstring.
        keys: of its sources in `references.bib`.
        needs: arguments of the maker that have no default.
    """

    name: str
    maker: str
    module: str
    about: str
    keys: tuple[str, ...]
    needs: tuple[str, ...] = ()


@cache
def models() -> list[ModelRecord]:
    """Every named model, by name.

    Raises:
        FileNotFoundError: an incomplete installation.
        ValueError: a model's file without a docstring or a callable of its name.
    """
    # an installed wheel and a checkout (by its link, or beside the package where links are not supported)
    for folder in (HERE / "functionals" / "models", HERE.parent / "functionals" / "models"):
        if folder.is_dir():
            return [_record(path) for path in sorted(folder.glob("[!_]*.py"))]
    raise FileNotFoundError(f"no models beside {HERE}: the installation of cgdft is incomplete; install it again")


def model_record(name: str, others: Sequence[str] = ()) -> ModelRecord:
    """The record of a model by its name on the command line.

    Args:
        others: what else would have been right, for the message.

    Raises:
        ValueError: no model of this name, with those there are.
    """
    known = {one.name: one for one in models()}
    if name not in known:
        right = [*known, *others]
        raise ValueError(f"`model` must be one of {', '.join(right)}, got {name!r}{_hint(name, right)}")
    return known[name]


def keys_of(model_name: str) -> tuple[str, ...]:
    """Keys of the literature behind a model, as in `references.bib`."""
    return model_record(model_name).keys


def bibtex(keys: Iterable[str]) -> str:
    """BibTeX of the references with these keys, in the order given and each once.

    Raises:
        ValueError: a key that is not in `references.bib`.
    """
    known = references()
    wanted = list(dict.fromkeys(keys))
    for key in wanted:
        if key not in known:
            raise ValueError(
                f"`keys` must be among {', '.join(known)}, got {key!r}{_hint(key, known)}; a new source is an entry of "
                f"{HERE / 'references.bib'}"
            )
    return "\n\n".join(known[key] for key in wanted)


@cache
def references() -> dict[str, str]:
    """All entries of `references.bib` by key; that of cgdft with the version at hand."""
    from cgdft import __version__

    entries = re.split(r"\n(?=@)", (HERE / "references.bib").read_text(encoding="utf-8"))
    found = {entry[entry.index("{") + 1 : entry.index(",")].strip(): entry.strip() for entry in entries}
    found["cgdft"] = found["cgdft"].replace("  license", f"  version = {{{__version__}}},\n  license")
    return found


def _record(path: Path) -> ModelRecord:
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    text = ast.get_docstring(tree) or ""
    source = re.search(r"^Source:\s*(.+?)\s*\.?\s*(?:\n\s*\n|\Z)", text, re.MULTILINE | re.DOTALL)
    keys = tuple(re.split(r"[,\s]+", source.group(1))) if source else ()
    wanted = path.stem.replace("_", "")
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name.lower() == wanted and text:
            name = path.stem.replace("_", "-")
            return ModelRecord(
                name, node.name, f"cgdft.functionals.models.{path.stem}", text.splitlines()[0], keys, _needed(node)
            )
    got = "no docstring" if not text else ", ".join(n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef))
    raise ValueError(f"{path} must have a docstring and a function called {wanted!r} in any letter case, got {got or 'none'}")


def _needed(node: ast.FunctionDef | ast.ClassDef) -> tuple[str, ...]:
    """Arguments without a default."""
    if isinstance(node, ast.ClassDef):
        found = [n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
        if not found:
            return ()
        node = found[0]
    a = node.args
    positional = [arg.arg for arg in [*a.posonlyargs, *a.args] if arg.arg != "self"]
    required = positional[: len(positional) - len(a.defaults)]
    return (*required, *(arg.arg for arg, default in zip(a.kwonlyargs, a.kw_defaults, strict=True) if default is None))


def _hint(name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name.lower().replace("_", "-"), list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""
