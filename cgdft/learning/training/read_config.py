"""The YAML file of a training, with errors that name the line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from cgdft.learning.training.config import Config, Data, Network, mistake

Place = tuple[int | str, ...]
#: The models of nested parts, for hints about their keys.
MODELS: dict[Place, type[BaseModel]] = {(): Config, ("data",): Data, ("environment",): Network}


def read_config(path: str | Path) -> Config:
    """The training that a file states.

    Raises:
        FileNotFoundError: no such file.
        ValueError: "file:line: field: what must be, got what" for every mistake.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {str(path)!r}")
    try:
        text = path.read_text()
        root, data = yaml.compose(text, Loader=_Plain), yaml.load(text, Loader=_Plain)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ValueError(f"{path}:{line}: must be plain YAML, got something else: {error.problem}") from error
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path}: must be plain YAML in UTF-8, got something else: {error}") from error
    if not isinstance(root, yaml.MappingNode):
        raise ValueError(f"{path}:1: must be keys with values, such as data: and architecture:, got {type(data).__name__}")
    other = [f"{path}:{line}: keys must be words, got {key}; in quotes it is one" for key, line in _no_words(root)]
    if other:
        raise ValueError("; ".join(other))
    twice = [f"{path}:{line}: {'.'.join(field)}: must stand once, got it again" for field, line in _repeated(root, ())]
    if twice:
        raise ValueError("; ".join(twice))
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        raise ValueError("; ".join(_messages(path, root, error))) from error


class _Plain(yaml.SafeLoader):
    """Without aliases, a few of which stand for more than memory holds."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            alias = self.peek_event()  # type: ignore[no-untyped-call]
            told = f"an alias, *{alias.anchor}; write out what it stands for"
            raise yaml.composer.ComposerError(None, None, told, alias.start_mark)
        return super().compose_node(parent, index)


def _messages(path: Path, root: yaml.Node, error: ValidationError) -> Iterator[str]:
    """One for each field that is wrong, in the order of lines."""
    found: dict[tuple[int, str], list[str]] = {}
    got: dict[tuple[int, str], str] = {}
    for one in error.errors():
        place, line = _walk(root, one["loc"], by_key=one["type"] in ("extra_forbidden", "missing"))
        if one["type"] == "missing":
            place = (*place, one["loc"][-1])
        place = place or one["loc"]  # of a default
        key = (line, ".".join(map(str, place)))
        what, value = mistake(one, MODELS.get(place[:-1], Config).model_fields)
        got[key] = value or got.get(key, "")
        found.setdefault(key, []).append(what)
    for (line, field), messages in sorted(found.items()):
        told = " or ".join(dict.fromkeys(messages)) + got.get((line, field), "")
        yield f"{path}:{line}: {field}: {told}"


def _walk(node: yaml.Node, place: Place, by_key: bool) -> tuple[Place, int]:
    """As much of a place as the file has, and its line."""
    line, known = node.start_mark.line + 1, []
    for part in place:
        if isinstance(node, yaml.MappingNode):
            match = next(((key, value) for key, value in node.value if key.value == str(part)), None)
            if match is None:
                continue
            key, node = match
            line = (key if by_key or isinstance(node, yaml.MappingNode) else node).start_mark.line + 1
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            continue
        known.append(part)
    return tuple(known), line


def _no_words(root: yaml.Node) -> Iterator[tuple[str, int]]:
    """Keys that YAML takes for numbers, nothing, yes or no, such as on and No."""
    if isinstance(root, yaml.MappingNode):
        for key, value in root.value:
            if key.tag != "tag:yaml.org,2002:str":
                yield str(key.value) or "none", key.start_mark.line + 1
            yield from _no_words(value)


def _repeated(node: yaml.Node, place: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], int]]:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            here = (*place, str(key.value))
            if key.value in seen:
                yield here, key.start_mark.line + 1
            seen.add(key.value)
            yield from _repeated(value, here)
