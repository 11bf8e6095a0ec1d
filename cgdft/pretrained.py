"""The trained models that come with the package: which there are, without importing what they need."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent / "learning" / "pretrained"


def names() -> list[str]:
    """Of the trained models, in order."""
    return sorted(path.stem for path in FOLDER.glob("*.safetensors"))
