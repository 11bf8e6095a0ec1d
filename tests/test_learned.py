"""The comparison of learnt physics: what is stored, and a short run of it."""

from pathlib import Path

import pytest

from cgdft.learning import FrameSet
from cgdft.validation.learned import divided, errors, free_atoms, learnt, markdown, page, shown, stored_results, table
from cgdft.validation.suites import stored


def error(suite, physics, quantity):
    found = errors(stored_results()[suite][physics], quantity)
    return sum(found) / len(found)


def test_what_the_comparison_found():
    """Two charge states of the same positions: no function of positions can tell them; where charges equilibrate it is easy."""
    minimised = ("response", "shared-response", "nonlinear")
    others = ("local", "les", "local-charges", "shared-charges")
    for one in (*minimised, "qeq"):
        assert error("silver", one, "energy") < 2
        assert all(error("silver", other, "energy") > 50 * error("silver", one, "energy") for other in others)
    assert error("silver", "local", "energy") > 1000
    for quantity in ("energy", "forces", "charges"):
        best = {one: error("silver", one, quantity) for one in (*minimised, "qeq", "local-charges", "shared-charges")}
        assert set(sorted(best, key=best.get)[:3]) == set(minimised)
        lowest = min(errors(stored_results()["carbon"]["shared-response"], quantity))  # level with the best there, by seeds
        assert all(lowest < max(errors(stored_results()["carbon"][one], quantity)) for one in best)
        assert error("salt", "shared-response", quantity) < 1.1 * min(error("salt", one, quantity) for one in best)
        assert error("salt", "response", quantity) < error("salt", "qeq", quantity)
    for quantity in ("energy", "forces"):  # of those that know energies and forces alone
        assert error("salt", "response, latent", quantity) < 1.1 * error("salt", "les", quantity)
        assert error("carbon", "shared-response", quantity) < min(error("carbon", one, quantity) for one in others)
    assert all(row["failed"] == 0 for rows in stored_results().values() for seeds in rows.values() for row in seeds)


def test_the_page_is_generated():
    """docs/learned.md: `python -m cgdft.validation.learned --stored > docs/learned.md`."""
    assert (Path(__file__).parents[1] / "docs" / "learned.md").read_text() == markdown(stored_results())
    report = page(stored_results())
    assert "data:image/png;base64" in report
    assert "qeq" in table(stored_results())


def test_what_is_best_is_said_of_the_seeds():
    def row(*values):
        return [{"errors": {name: {"rmse": value} for name in ("energy", "forces", "charges")}} for value in values]

    rows = {"a": row(1.0, 2.0), "b": row(1.9, 4.0), "c": row(2.1, 2.2), "d": row(1.9), "e": row(2.1)}
    assert shown(rows).startswith("Best in energy is `a`; level with it are `b` and `d`. Best in forces is")
    assert shown({"a": row(1.0), "b": row(1.5)}).count("level") == 0


@pytest.mark.slow
def test_a_short_training_of_two():
    frames = list(FrameSet.read(stored("silver")))[:60]
    train, validation, test = divided(frames)
    numbers = [{frame.name.split()[-1] for frame in part} for part in (train, validation, test)]
    assert not (numbers[0] & numbers[1] | numbers[0] & numbers[2] | numbers[1] & numbers[2])
    assert len(train) + len(validation) + len(test) == 60
    assert free_atoms(train)["Ag"] == pytest.approx(-146.92, abs=0.05)
    found = {name: learnt(frames, name, 8)["errors"]["energy"]["rmse"] for name in ("local", "qeq")}
    assert found["local"] > 4 * found["qeq"]
