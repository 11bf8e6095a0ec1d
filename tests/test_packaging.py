"""What installs is the one package."""

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_package_is_listed():
    found = {"cgdft"}
    for init in ROOT.glob("cgdft/**/__init__.py"):
        found.add(".".join(init.relative_to(ROOT).parent.parts))
    for folder in ("functionals", "solvers", "validation"):
        for init in (ROOT / folder).glob("**/__init__.py"):
            found.add("cgdft." + ".".join(init.relative_to(ROOT).parent.parts))
    assert found == set(SETTINGS["tool"]["setuptools"]["packages"])


def test_folders_are_not_packages_of_their_own():
    for folder in ("functionals", "solvers", "validation"):
        run = subprocess.run([sys.executable, "-c", f"import {folder}"], cwd=ROOT, capture_output=True, text=True)
        assert run.returncode == 1
        assert f"installs as `cgdft.{folder}`" in run.stderr


def test_wheel_holds_only_cgdft(tmp_path):
    pytest.importorskip("setuptools", minversion="77")
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", tmp_path, ROOT]
    run = subprocess.run(pip, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    (wheel,) = tmp_path.glob("cgdft-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names}
    assert all(t == "cgdft" or t.endswith(".dist-info") for t in top)
    for wanted in ("functionals/models/qeq.py", "validation/dft/reference.py", "references.bib", "py.typed"):
        assert f"cgdft/{wanted}" in names
    assert not [name for name in names if "__pycache__" in name]


def test_archive_of_sources_holds_what_builds_and_tests_need(tmp_path):
    pytest.importorskip("setuptools", minversion="77")
    made = "from setuptools import build_meta; print(build_meta.build_sdist(__import__('sys').argv[1]))"
    run = subprocess.run([sys.executable, "-c", made, tmp_path], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    (archive,) = tmp_path.glob("cgdft-*.tar.gz")
    with tarfile.open(archive) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
    wanted = {str(path.relative_to(ROOT)) for folder in ("tests", "docs") for path in (ROOT / folder).rglob("*.py")}
    wanted |= {str(path.relative_to(ROOT)) for path in ROOT.glob("docs/*.md")}
    wanted |= {"Makefile", "constraints.txt", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "README.md"}
    assert not wanted - names
    assert not [name for name in names if "_build" in name or name.endswith(".pyc")]


def test_versions_agree():
    import cgdft

    assert cgdft.__version__ == SETTINGS["project"]["version"]
    assert f"version: {cgdft.__version__}\n" in (ROOT / "CITATION.cff").read_text()
