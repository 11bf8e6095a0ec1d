"""The state of a training on disk: complete, written whole or not at all, and read without running anything."""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from cgdft.naming import shortened
from cgdft.writing import write_whole

#: Of what a checkpoint holds; raised when that changes.
FORMAT = 4


def write(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint.

    Raises:
        OSError: see `write_whole`.
    """
    buffer = io.BytesIO()
    torch.save(_on_processor({"format": FORMAT, **state}), buffer)
    content = buffer.getvalue()
    write_whole(path, _first_line(content) + content)


def _first_line(content: bytes) -> bytes:
    return f"cgdft checkpoint {hashlib.sha256(content).hexdigest()}\n".encode()


def _on_processor(value: Any) -> Any:
    """The same with its tensors where every machine can read them."""
    if isinstance(value, torch.Tensor):
        return value.cpu()
    if isinstance(value, Mapping):
        return {key: _on_processor(one) for key, one in value.items()}
    return [_on_processor(one) for one in value] if isinstance(value, list) else value


def read(path: Path, same: Mapping[str, Any]) -> dict[str, Any]:
    """Read a checkpoint of the same training.

    Args:
        same: what must be as it was, by name.

    Raises:
        ValueError: damaged, of another version, or of another training; the message says what differs.
    """
    try:
        first, _, content = path.read_bytes().partition(b"\n")
        if first + b"\n" != _first_line(content):
            raise ValueError("its checksum is another")
        state: dict[str, Any] = torch.load(io.BytesIO(content), weights_only=True)
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        why = str(error).partition("\n")[0][:120]
        raise ValueError(
            f"{path} must be a checkpoint, got a file that cannot be read ({why}); remove it to begin anew"
        ) from error
    if not isinstance(state, dict) or "format" not in state:
        raise ValueError(f"{path} must be a checkpoint, got something else; give another `output`")
    if state["format"] != FORMAT:
        raise ValueError(
            f"{path} must be a checkpoint of format {FORMAT}, got {state['format']}; go on with the version of cgdft "
            f"that wrote it, or give another `output`"
        )
    for name, value in same.items():
        if state[name] != value:
            start = " (and there, to begin with what was learnt, `start` its model.safetensors)" * (name != "architecture")
            told = f"{_difference(name, value, state[name])}; give another `output`{start}, or remove it to begin anew"
            raise ValueError(f"{path} is of another training: {told}")
    return state


def _difference(name: str, now: Any, then: Any) -> str:
    if isinstance(now, Mapping) and isinstance(then, Mapping):
        for key in dict.fromkeys([*then, *now]):
            if then.get(key) != now.get(key):
                return f"`{key}` of its {name} is {_told(then.get(key))}, here {_told(now.get(key))}"
    return f"its {name} is {_told(then)}, here {_told(now)}"


def _told(value: Any) -> str:
    return "none" if value is None else shortened(str(value))
