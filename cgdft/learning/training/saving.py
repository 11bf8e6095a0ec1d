"""Trained models in one file each: weights as safetensors, and JSON that says what they are of. Nothing in it is run."""

from __future__ import annotations

import copy
import hashlib
import importlib.metadata
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.data import atomic_numbers
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from cgdft import __version__, pretrained
from cgdft.learning.environment import Environment
from cgdft.learning.message_passing import MessagePassing
from cgdft.learning.training.architecture import build, code_of
from cgdft.learning.training.domain import Guard, Ranges
from cgdft.learning.training.untrained import numbers_of_elements
from cgdft.model import Model
from cgdft.parameter import NUMBERS
from cgdft.structure import Structure
from cgdft.writing import write_whole

#: Of what a file says; raised when that changes.
FORMAT = 7
PACKAGES = ("torch", "e3nn")
#: Part by which features of another version of e3nn may differ: rounding in float32.
ALIKE = 1e-4


def save(
    model: Model,
    path: str | Path,
    *,
    architecture: str | None = None,
    atoms: Mapping[str, float] | None = None,
    ranges: Ranges | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Write a model of an architecture on an environment, weights of both.

    Args:
        architecture: name or Python file of which `model` was made.
        atoms: E0 that it was made with, hartree.
        ranges: surroundings and charge states of its training, see `ranges` in `domain`.
        provenance: what else is known of it: data, seed, config, errors; anything that JSON holds.

    Raises:
        TypeError: no architecture, or no E0.
        ValueError: a model without an environment, or with several; one that is not of this architecture, or has other E0.
        OSError: the file cannot be written.
    """
    if not any(isinstance(module, Environment) for module in model.modules()):
        raise ValueError(
            f"`model` must have a network of an architecture, got {model.name} without one: keep it as a Python file that "
            "defines model, and what it has learnt by torch.save(model.state_dict(), ...)"
        )
    if architecture is None or atoms is None:
        raise TypeError(
            f"`architecture` and `atoms` must be what the model was made with, got {architecture} and {atoms}; for example "
            "architecture='response', atoms={'H': -0.5, 'O': -75.0} (hartree)"
        )
    environment = environment_of(model)
    again = build(architecture, environment, atoms)
    weights, expected = _distinct(model), _distinct(again)
    unlike = [name for name in expected.keys() | weights.keys() if _shape(expected, name) != _shape(weights, name)]
    if unlike:
        raise ValueError(
            f"`architecture` must be that of the model, got {architecture}, of which {min(unlike)} has shape "
            f"{_shape(expected, min(unlike))} in place of {_shape(weights, min(unlike))}"
        )
    if (other := numbers_of_elements(again)) != (own := numbers_of_elements(model)):
        name = next(one for one in own.keys() | other.keys() if own.get(one) != other.get(one))
        raise ValueError(
            f"`atoms` must be what the model was made with, {own.get(name)}, got {other.get(name)} by {dict(atoms)} (hartree)"
        )
    facts = {
        "format": FORMAT,
        "architecture": architecture,
        "code": code_of(architecture),
        "environment": constructor(environment) if isinstance(environment, MessagePassing) else described(environment),
        "atoms": dict(atoms),
        "units": "hartree, bohr, e",
        "versions": {"cgdft": __version__, **{name: importlib.metadata.version(name) for name in PACKAGES}},
        "features": _features_or_none(environment),
        "ranges": ranges or {},
        "provenance": dict(provenance or {}),
    }
    weights = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in weights.items()}
    facts = json.loads(json.dumps(facts))  # as it will be read
    write_whole(Path(path), to_bytes(weights, {"cgdft": json.dumps({**facts, "checksum": checksum(weights, facts)})}))


def features_of(environment: Environment) -> list[float]:
    """A number of each atom of a helix of all elements, by which a later version of e3nn is seen to give the same features."""
    t = torch.arange(len(environment.elements), dtype=torch.float64)
    helix = 0.3 * environment.cutoff * torch.stack([torch.cos(t), torch.sin(t), 0.7 * t], 1)
    structure = Structure(torch.tensor([atomic_numbers[symbol] for symbol in environment.elements]), helix)
    device = next((one.device for one in environment.parameters()), structure.positions.device)
    training = [one for one in environment.modules() if one.training]
    environment.eval()  # nothing of it is to change
    try:
        with torch.no_grad():
            features = environment.features(structure.to(device)).double().cpu()
    finally:
        for module in training:
            module.training = True
    found: list[float] = (features @ torch.cos(torch.arange(features.shape[1], dtype=torch.float64))).tolist()
    return found


def _features_or_none(environment: Environment) -> list[float] | None:
    """None of an environment of a user's own that refuses the helix, for whatever reason."""
    try:
        return features_of(environment)
    except Exception:
        return None


def checksum(weights: Mapping[str, Tensor], facts: Mapping[str, Any]) -> str:
    """sha256 of names, kinds and numbers, and of what is said of them but for the checksum."""
    said = {name: value for name, value in facts.items() if name != "checksum"}
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode())
    for name in sorted(weights):
        array = weights[name].numpy()
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def metadata(path_or_name: str | Path) -> dict[str, Any]:
    """What a file says of its model.

    Raises:
        FileNotFoundError, ValueError: as `load`.
    """
    return _read(_found(path_or_name))[0]


def load(path_or_name: str | Path, architecture: str | None = None, environment: Environment | None = None) -> Model:
    """The model of a file, or of a trained one by name; structures unlike those of its training get one warning.

    It computes in the dtype of its network, by default float32; `.double()` of it in float64. Its weights require no gradient;
    `.requires_grad_()` of it can be trained on.

    Args:
        architecture: the Python file of a model of a user's own; code is not in the file.
        environment: of a model on another one than `MessagePassing`, such as `MACEFeatures`: one like it, a copy of which
            gets the weights of the file.

    Raises:
        FileNotFoundError: no such file or name.
        ValueError: a damaged file, or one of another format, another e3nn, another architecture or environment.
    """
    model, facts = restored(path_or_name, architecture, environment)
    if path_or_name in pretrained.names():
        model.name = str(path_or_name)
    if facts["ranges"]:
        environment = environment_of(model)
        environment.register_forward_pre_hook(Guard(facts["ranges"], environment.cutoff))
    return model.requires_grad_(requires_grad=False).eval()


def restored(
    path_or_name: str | Path,
    architecture: str | None = None,
    environment: Environment | None = None,
    atoms: Mapping[str, float] | None = None,
) -> tuple[Model, dict[str, Any]]:
    """The model of a file, ready to be trained further, and what the file says of it, its own sha256 as "hash" too.

    Args:
        architecture, environment: as of `load`, which raises the same.
        atoms: E0 in place of those of the file, of some or all elements, hartree.
    """
    path = _found(path_or_name)
    facts, weights = _read(path)
    if str(facts["architecture"]).endswith(".py") and architecture is None:
        raise ValueError(
            f"{path} is of the architecture {facts['architecture']}, a file of its author's: give it as `architecture` (cgdft "
            "solve takes a Python file with model = cgdft.learning.load(FILE, architecture) in place of the model)"
        )
    environment = _environment(path, facts["environment"], environment)
    code = code_of(architecture or "")
    if code and facts.get("code") and code != facts["code"]:
        warnings.warn(
            f"{architecture} is not as it was when {path} was written: this may not be what was trained", stacklevel=3
        )
    facts["atoms"] |= atoms or {}
    model = build(architecture or facts["architecture"], environment, facts["atoms"])
    held = _distinct(model)
    unlike = [name for name in held.keys() | weights.keys() if _shape(held, name) != _shape(weights, name)]
    if unlike:
        name = min(unlike)
        raise ValueError(
            f"{path} must hold the weights of the architecture {architecture or facts['architecture']}, got {name} of shape "
            f"{_shape(weights, name)} in place of {_shape(held, name)}; it was written with cgdft {facts['versions']['cgdft']}"
        )
    with torch.no_grad():
        for name, tensor in held.items():
            tensor.copy_(weights[name])
    _require_same_features(path, facts, environment_of(model))
    return model, {**facts, "hash": hashlib.sha256(path.read_bytes()).hexdigest()}


def environment_of(model: nn.Module) -> Environment:
    """The one environment of a model.

    Raises:
        ValueError: another number of them.
    """
    found = list(dict.fromkeys(module.origin for module in model.modules() if isinstance(module, Environment)))
    if len(found) != 1:
        kinds = ", ".join(type(one).__name__ for one in found) or "none"
        raise ValueError(
            f"`model` must have one environment, which all heads share, got {kinds}; a head is a torch module that holds it as "
            "an attribute, by which it is found"
        )
    return found[0]


def described(environment: Environment) -> dict[str, Any]:
    """What an environment must be for the weights of another to fit."""
    return {
        "kind": type(environment).__name__,
        "elements": list(environment.elements),
        "cutoff": environment.cutoff,
        "irreps": str(environment.irreps),
    }


def _environment(path: Path, facts: dict[str, Any], given: Environment | None) -> Environment:
    """The one that is given, if it is like that of the file, or a new `MessagePassing`."""
    if "kind" not in facts:
        if given is not None:
            raise ValueError(f"`environment` must be left out, got {type(given).__name__}: {path} has one of MessagePassing")
        return MessagePassing(**{**facts, "dtype": getattr(torch, facts["dtype"])})
    if given is None or described(given) != facts:
        got = "none" if given is None else described(given)
        raise ValueError(
            f"`environment` must be like that of {path}, {facts}, got {got}; code is not in the file (the commands take "
            "a Python file with model = cgdft.learning.load(FILE, environment=...) in place of the model)"
        )
    return copy.deepcopy(given)


def constructor(environment: MessagePassing) -> dict[str, Any]:
    """The arguments that make an environment again."""
    layer = environment.blocks[0]
    scale = layer.scale
    assert isinstance(scale, float)
    return {
        "elements": list(environment.elements),
        "channels": environment.embedding.embedding_dim,
        "lmax": environment.lmax,
        "layers": len(environment.blocks),
        "cutoff": environment.cutoff,
        "neighbours": scale**-2,
        "dtype": str(environment.precision).removeprefix("torch."),
    }


def _distinct(model: nn.Module) -> dict[str, Tensor]:
    """Weights and buffers that are not empty, each once, though an environment is part of many heads; no numbers of tables."""
    found: dict[tuple[int, torch.Size], tuple[str, Tensor]] = {}
    for name, tensor in model.state_dict().items():
        if tensor.numel() and NUMBERS not in name.split("."):
            found.setdefault((tensor.data_ptr(), tensor.shape), (name, tensor))
    return dict(found.values())


def _found(path_or_name: str | Path) -> Path:
    if path_or_name in pretrained.names():  # a file of that name is ./name
        return pretrained.FOLDER / f"{path_or_name}.safetensors"
    if Path(path_or_name).is_file():
        return Path(path_or_name)
    raise FileNotFoundError(
        f"no file {str(path_or_name)!r}, and no model of this name; known: {', '.join(pretrained.names()) or 'none'}"
    )


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            told = (file.metadata() or {}).get("cgdft")
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        facts = None if told is None else json.loads(told)
        found = checksum(weights, facts if isinstance(facts, dict) else {})
    except (SafetensorError, json.JSONDecodeError, RecursionError, TypeError, OSError) as error:
        raise ValueError(f"{path} must be a model that cgdft wrote, got a damaged or other file ({error})") from error
    if not isinstance(facts, dict) or "format" not in facts:
        raise ValueError(f"{path} must be a model that cgdft wrote, got a file of another program")
    if facts["format"] != FORMAT:
        raise ValueError(f"{path} must be of format {FORMAT}, got {facts['format']}; use the version of cgdft that wrote it")
    if facts.get("checksum") != found:
        raise ValueError(f"{path} must be as it was written, got a damaged file: its checksum is another")
    return facts, weights


def _require_same_features(path: Path, facts: Mapping[str, Any], environment: Environment) -> None:
    """Another version of e3nn, and an environment that is given, must have the features of when the file was written."""
    now, then, given = importlib.metadata.version("e3nn"), facts["versions"]["e3nn"], "kind" in facts["environment"]
    if now == then and not (given and facts["features"] is not None):
        return
    if facts["features"] is None:
        raise ValueError(
            f"{path} must be read with e3nn {then}, with which it was written, got {now}: its environment refused a "
            "structure to compare features of"
        )
    wanted, found = np.array(facts["features"]), np.array(features_of(environment))
    if not np.allclose(found, wanted, rtol=0, atol=ALIKE * np.abs(wanted).max()):
        if given:
            raise ValueError(
                f"`environment` must be like that of {path}, got one of which, with the weights of the file, features differ "
                f"by {np.abs(found - wanted).max():.1e} of {np.abs(wanted).max():.1e}: numbers that are no weights, such as "
                f"MACE's average number of neighbours, are others, or it was written with e3nn {then} and this is {now}"
            )
        raise ValueError(
            f"{path} must be read with e3nn {then}, with which it was written, got {now}, of which features differ by "
            f"{np.abs(found - wanted).max():.1e} of {np.abs(wanted).max():.1e}; install e3nn=={then}"
        )


def _shape(tensors: Mapping[str, Tensor], name: str) -> tuple[int, ...] | None:
    return tuple(tensors[name].shape) if name in tensors else None
