"""Every code block of README and manual runs as printed; so does every example."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*.py"))
#: Those that take longer than some seconds on a slow machine.
LONG = {
    "capacitor",
    "chain_polarizability",
    "charge_leaks",
    "charge_sloshing",
    "coarse_graining",
    "dissociation",
    "exact_functional",
    "fixed_potential",
    "qeq_slater_integrals",
    "relations",
    "slab_in_a_field",
    "unseen_charge",
    "water_md",
}
FENCE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", [p for p in PAGES if FENCE.search(p.read_text())], ids=lambda p: p.stem)
def test_code_blocks_of_a_page(page, tmp_path, monkeypatch):
    """The blocks of a page share their names, as a reader's session does; where a page says so those of a section."""
    monkeypatch.chdir(tmp_path)
    text = page.read_text()
    for section in re.split(r"^(?=## )", text, flags=re.MULTILINE) if "Each section runs on its own." in text else [text]:
        names: dict[str, object] = {}
        if page.stem == "quickstart":  # begins by including the README's blocks
            names["__name__"] = "quickstart"
        for block in FENCE.findall(section):
            exec(compile(block, str(page), "exec"), names)


@pytest.mark.parametrize(
    "script", [pytest.param(p, marks=[pytest.mark.slow] if p.stem in LONG else [], id=p.stem) for p in EXAMPLES]
)
def test_example(script, tmp_path):
    assert len(script.read_text().splitlines()) < 80
    environment = {**os.environ, "MPLBACKEND": "Agg"}
    run = subprocess.run([sys.executable, "-W", "error", script], cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr
    printed = script.with_suffix(".txt")
    if printed.exists():
        assert run.stdout == printed.read_text()
