"""A user's Python file: what it defines, and what went wrong in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def names_of(path: Path) -> dict[str, Any]:
    """What a user's Python file defines, which may import its neighbours, as they are now.

    Raises:
        FileNotFoundError: no such file.
        ValueError: whatever the code raises.
    """
    import runpy
    import sys

    if not path.is_file():
        raise FileNotFoundError(f"no file {str(path)!r}")
    folder = str(path.resolve().parent)
    own = {one.relative_to(folder).parts[0].removesuffix(".py") for one in neighbours(path)}
    for name in [name for name in sys.modules if name.partition(".")[0] in own]:
        del sys.modules[name]  # that of another folder, or as it was before
    sys.path.insert(0, folder)
    try:
        return runpy.run_path(str(path))
    except (Exception, SystemExit) as error:  # user code: whatever it raises
        raise ValueError(f"{path}: running it failed ({told(error, path)})") from error
    finally:
        sys.path.remove(folder)
        if folder not in sys.path:  # what is imported later is found, after all else
            sys.path.append(folder)


def neighbours(path: Path) -> list[Path]:
    """The files beside a Python file that it imports, and that these do; of packages all files.

    Raises:
        ValueError: one with the name of a module of Python, of which there is no telling which is meant.
    """
    import ast
    import sys

    folder = path.resolve().parent
    found, waiting = dict[Path, None](), [path.resolve()]
    while waiting:
        try:
            nodes = list(ast.walk(ast.parse(waiting.pop().read_bytes())))
        except SyntaxError:  # told where it is run
            continue
        names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
        names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level]
        for top in {name.partition(".")[0] for name in names}:
            if top in sys.stdlib_module_names:
                for one in (folder / f"{top}.py", folder / top / "__init__.py"):
                    if one.is_file():
                        raise ValueError(f"{one} must have another name, got that of a module of Python; rename it")
                continue
            beside = [folder / f"{top}.py"] if (folder / f"{top}.py").is_file() else sorted((folder / top).rglob("*.py"))
            new = [one for one in beside if one not in found]
            found |= dict.fromkeys(new)
            waiting += new
    return list(found)


def lines_in(error: BaseException, path: Path) -> list[int | None]:
    """Lines of a file on the way to an error."""
    import traceback

    return [one.lineno for one in traceback.extract_tb(error.__traceback__) if Path(one.filename).resolve() == path.resolve()]


def told(error: BaseException, path: Path) -> str:
    """An error in a user's code: its kind, its text, and the last line of the file on the way to it."""
    lines = lines_in(error, path)
    return f"{type(error).__name__}: {error}{f', line {lines[-1]}' if lines else ''}"
