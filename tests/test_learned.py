"""The comparison of learnt physics: what is stored, and a short run of it."""

from pathlib import Path

import pytest

from cgdft.learning import FrameSet
from cgdft.validation.learned import divided, free_atoms, learnt, markdown, page, stored_results, table
from cgdft.validation.suites import stored


def error(suite, physics, quantity):
    return stored_results()[suite][physics]["errors"][quantity]["rmse"]


def test_what_the_comparison_found():
    """Two charge states of the same positions: no function of positions can tell them; with a total charge it is easy."""
    solved = ("qeq", "response", "nonlinear")
    assert all(error("silver", "local", "energy") > 100 * error("silver", one, "energy") for one in solved)
    assert all(error("silver", one, "energy") < 5 for one in solved)
    assert error("silver", "les", "energy") > 1000
    for suite in ("silver", "carbon"):  # shares of the total charge and dipoles that answer: the best or as good
        for quantity in ("energy", "forces", "charges"):
            best = min(error(suite, one, quantity) for one in ("qeq", "nonlinear", "local-charges"))
            assert error(suite, "response", quantity) < 1.01 * best
    for quantity in ("energy", "forces", "charges"):  # of what is minimised
        assert error("silver", "nonlinear", quantity) < 0.8 * error("silver", "qeq", quantity)
    assert error("silver", "response", "charges") < 0.1 * error("silver", "qeq", "charges")
    assert error("carbon", "nonlinear", "energy") < 0.6 * error("carbon", "local", "energy")
    assert all(error("salt", "les", "energy") < error("salt", one, "energy") for one in (*solved, "local", "local-charges"))
    assert error("salt", "response", "charges") < 0.4 * error("salt", "qeq", "charges")
    assert all(row["failed"] == 0 for rows in stored_results().values() for row in rows.values())


def test_the_page_is_generated():
    """docs/learned.md: `python -m cgdft.validation.learned --stored > docs/learned.md`."""
    assert (Path(__file__).parents[1] / "docs" / "learned.md").read_text() == markdown(stored_results())
    report = page(stored_results())
    assert "data:image/png;base64" in report
    assert "qeq" in table(stored_results())


def test_a_short_training_of_two():
    frames = list(FrameSet.read(stored("silver")))[:60]
    train, validation, test = divided(frames)
    numbers = [{frame.name.split()[-1] for frame in part} for part in (train, validation, test)]
    assert not (numbers[0] & numbers[1] | numbers[0] & numbers[2] | numbers[1] & numbers[2])
    assert len(train) + len(validation) + len(test) == 60
    assert free_atoms(train)["Ag"] == pytest.approx(-146.92, abs=0.05)
    found = {name: learnt(frames, name, 8)["errors"]["energy"]["rmse"] for name in ("local", "qeq")}
    assert found["local"] > 4 * found["qeq"]
