"""The report: every section that has something to say, numbers that are those of the comparison, names that are only text."""

import dataclasses
import html.parser
import json
import re

import numpy as np
import pytest
from ase.build import molecule

from cgdft.functionals import QEq, QEqDipoles
from cgdft.units import angstrom
from cgdft.validation import CoulombFit, Hirshfeld, compare, fixed, reference, suites
from cgdft.validation.report import paper, prose
from cgdft.validation.report.figures import FIGURES, Panel, panels_figure
from cgdft.validation.report.observables import OBSERVABLES, two_digits
from cgdft.validation.report.paper import as_html, write_report

ODD = "<b>& $x_$"  # a tag, an entity, a formula that matplotlib cannot read
NOTHING = dict.fromkeys(("potential", "potential_difference", "plane_potential", "polarizability", "susceptibility"))


class Page(html.parser.HTMLParser):
    """Headings, tags, text and alternative texts."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.headings, self.alternatives, self.sources = [], "", [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "img":
            self.alternatives.append(dict(attrs)["alt"])
            self.sources.append(dict(attrs)["src"])

    def handle_data(self, data):
        self.text += data
        if self.tags and self.tags[-1] in ("h2", "h3") and data.strip():
            self.headings.append(data)


@pytest.fixture(scope="module")
def references(tmp_path_factory):
    folder = tmp_path_factory.mktemp("references")
    settings = {"threads": 1, "cache": folder}
    return {
        "H2O": reference(molecule("H2O"), "pbe/sto-3g", response=True, definitions=(Hirshfeld(), CoulombFit()), **settings),
        ODD: reference(molecule("HF"), "pbe/sto-3g", **settings),
    }


@pytest.fixture(scope="module")
def comparison(references):
    return compare([QEq(), QEqDipoles(), fixed(0)], references, "Hirshfeld")


@pytest.fixture(scope="module")
def page(comparison):
    return Page(as_html(comparison))


def named(references, names, one="H2O", **changes):
    """References that differ from a computed one in what is given, by name."""
    return {name: dataclasses.replace(references[one], **changes | extra) for name, extra in names.items()}


def of_atoms(atoms, **more):
    """The fields of a reference that say which atoms there are, without potentials and response."""
    n = len(atoms)
    known = {"numbers": atoms.numbers.astype(np.int64), "positions": atoms.positions * angstrom}
    return NOTHING | known | {"moments": {"Hirshfeld": np.zeros((n, 4))}, "forces": np.zeros((n, 3))} | more


def test_sections_in_the_order_of_a_paper(page):
    wanted = ["Methods", "Results", *(one.title for one in OBSERVABLES), "Where it fails", "Molecule by molecule"]
    wanted += ["What the columns are", "Molecules in pictures", "References"]
    assert [one for one in page.headings if one in wanted] == wanted
    assert "Series" not in page.headings
    for words in ("Abstract.", "3 models", "pbe/sto-3g", "2 molecules", "Hirshfeld, Theor. Chim. Acta 44", "rappe1991"):
        assert words in page.text
    assert "charges add up to the total within" in page.text
    assert "Args:" not in page.text
    assert "Raises:" not in page.text
    assert len(page.alternatives) == len(FIGURES) + 4  # and two for each molecule
    assert all(page.alternatives)
    assert all(one.startswith("data:image/png;base64,") for one in page.sources)


def test_json_beside_it(comparison, tmp_path):
    path = write_report(comparison, tmp_path / "report.html")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["report.html", "report.json"]
    text = (tmp_path / "report.json").read_text(encoding="utf-8")
    assert json.loads(text) == json.loads(json.dumps(comparison.to_dict(), allow_nan=False))
    assert not re.search(r"\b(nan|NaN|inf|None)\b", Page(path.read_text(encoding="utf-8")).text.replace("width=None", ""))
    assert path.stat().st_size < 2e6
    with pytest.raises(ValueError, match="`path` must be that of an HTML file"):
        write_report(comparison, tmp_path / "report.json")
    with pytest.raises(FileNotFoundError, match="`path` must be in a folder that exists"):
        write_report(comparison, tmp_path / "none" / "report.html")


def test_neither_file_is_left_where_one_fails(references, tmp_path):
    broken = dataclasses.replace(references["H2O"], provenance={"wall_seconds": float("nan")})
    with pytest.raises(ValueError, match="JSON"):
        write_report(compare(QEq(), broken), tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []


def test_names_are_text(page):
    assert ODD in page.text
    assert f"Charges of {ODD}" in page.alternatives


def test_sentences_have_the_numbers_of_the_scores(comparison):
    charges = OBSERVABLES[0]
    text = prose.finding(comparison, charges).replace("\u00a0", " ")
    mean = comparison.mean("QEq")[0].charges_rms
    assert 0.05 < mean < 1.0
    assert f"{two_digits(mean)} e for QEq" in text
    assert "over 2 molecules" in text
    assert "Fixed charges has the reference's own" in text
    worst = max((one for one in comparison.scores), key=lambda one: one.charges_rms)
    assert f"The worst case is {worst.model} on {worst.molecule}" in text
    assert prose.informed(comparison) == {"Fixed charges"}
    response = prose.finding(comparison, OBSERVABLES[-1]).replace("\u00a0", " ")
    assert "over 1 molecule." in response
    assert "Fixed charges does not respond: an error of 100 %." in response
    abstract = prose.abstract(comparison)
    assert "The reference's own multipoles, held fixed (Fixed charges)" in abstract
    assert "The worst failure is QEq" in abstract


def test_prose_and_table_have_the_same_means(comparison):
    """A model that responds on one molecule and not on another has its 100 % there, in the sentences as in the table."""
    error = OBSERVABLES[4]
    score = next(one for one in comparison.scores if one.model == "QEq" and one.polarizability_error is not None)
    still = dataclasses.replace(score, molecule="another", polarizability=0.0, polarizability_error=1.0)
    both = dataclasses.replace(comparison, scores=(*comparison.scores, still))
    before, after = (next(s for s in prose.standings(one, error) if s.model == "QEq") for one in (comparison, both))
    assert after.mean == pytest.approx(both.mean("QEq")[0].polarizability_error)
    assert after.count == before.count + 1


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.1672, "0.17"), (0.0996, "0.100"), (0.6, "0.60"), (31.4, "31"), (1562.0, "1600"), (0.0, "less than 0.0001")],
)
def test_two_digits(value, text):
    assert two_digits(value) == text


def test_periodic_reference_has_what_it_has(references, comparison):
    cell = {"cell": 12.0 * np.eye(3), "pbc": np.array([True] * 3), "dipole": None, "quadrupole": None}
    crystal = dataclasses.replace(references["H2O"], **NOTHING, **cell)
    for given in ({"cell": crystal}, {"cell": crystal, "H2O": references["H2O"]}):
        result = compare([QEq()], given)
        assert not [one.reason for one in result.scores if one.reason]
        page = Page(as_html(result))
        assert "structure" in page.text
        assert "Charges" in page.headings
        assert ("Potential" in page.headings) == ("H2O" in given)
        assert "Charges of cell" not in page.alternatives


def test_failures_are_named_once(references):
    def bad(ref):
        raise ValueError(f"<script>{len(ref.numbers)}</script>")

    result = dataclasses.replace(compare([QEq(), bad], references), failed={"Cm": "no basis"})
    page = Page(as_html(result))
    assert "script" not in page.tags
    assert "Without a solution: bad on H2O and" in page.text
    assert page.text.count("ValueError: <script>3</script>") == 2  # in the table and in the list
    assert "no basis" in page.text
    nothing = dataclasses.replace(result, references={}, scores=())
    assert "nothing was compared" in Page(as_html(nothing)).text


def test_most_molecules_are_not_drawn(references, monkeypatch):
    monkeypatch.setattr(paper, "DRAWN", 2)
    many = named(references, {f"water {k}": {} for k in range(41)}, susceptibility=None)
    page = Page(as_html(compare([QEq()], many)))
    assert "The 2 of 41 where" in page.text
    assert sum(one.startswith("Charges of water") for one in page.alternatives) == 2
    assert "Share of molecules" in page.text


def series(name, given):
    result = dataclasses.replace(compare([QEq(), fixed(0)], given), suite=name)
    page = Page(as_html(result))
    assert "Series" in page.headings
    assert suites.about(name) in page.text
    return page


def test_series_of_bonds(references):
    from cgdft.validation.suites import dissociation

    atoms = {point.name: point.atoms for point in dissociation.suite if point.name.startswith(("HF", "LiF"))}
    charges = dict.fromkeys(atoms, 0.3) | {"HF 4.000": 0.9}
    given = {
        name: of_atoms(one, moments={kind: charges[name] * np.array([[1.0], [-1.0]]) for kind in ("Hirshfeld", "CoulombFit")})
        for name, one in atoms.items()
    }
    page = series("dissociation", named(references, given, dipole=None, quadrupole=None))
    assert "Charges along the dissociation of bonds" in page.alternatives
    assert "+0.30 e in HF at 3 angstrom" in page.text
    assert "Where they jump (HF at 4 angstrom)" in page.text


def test_series_of_chains(references):
    from cgdft.validation.suites import chains

    given = {
        name: of_atoms(chains.CHAINS[name], polarizability=np.diag([n**1.5, 1.0, 1.0]))
        for n in (2, 4, 6)
        for name in (f"C{n}H2", f"C{n}H{2 * n + 2}")
    }
    result = compare([QEq()], named(references, given, dipole=None, quadrupole=None))
    ((title, figure, caption),) = chains.figures(result)
    assert "length of chains" in title
    assert "last three points" in caption
    legends = [text.get_text() for axes in figure.axes for text in axes.get_legend().get_texts()]
    assert legends.count("reference, n^1.50") == 2
    assert sum(one.startswith("QEq, n^") for one in legends) == 2
    assert "Polarizability against the length of chains" in series("chains", result.references).alternatives


def test_series_of_clusters(references):
    from cgdft.validation.suites import water

    given = {}
    for name, atoms in list(water.CLUSTERS.items())[:3]:
        n = len(atoms) // 3
        for field, charge, what in ((np.zeros(3), 0.0, name), (np.array(water.FIELD), 0.1, f"{name} in a field")):
            moments = {"Hirshfeld": charge * np.repeat([[1.0], [-1.0], [0.0]], n, axis=1).T.reshape(-1, 1)}
            given[what] = of_atoms(atoms, field=field, moments=moments, dipole=np.array([5 * charge, 0, 0]))
    result = compare([QEq()], named(references, given))
    ((_, figure, _),) = water.figures(result)
    atoms, molecules, dipole = (axes.get_lines()[0].get_ydata() for axes in figure.axes)
    np.testing.assert_allclose(atoms, [0.1, 0.2, 0.3])
    np.testing.assert_allclose(molecules, 0.0, atol=1e-12)
    np.testing.assert_allclose(dipole, 0.5)
    assert "Clusters of water in a field" in series("water", result.references).alternatives


def test_hooks_of_an_unfinished_suite_draw_nothing(comparison):
    from cgdft.validation.suites import chains, dissociation, water

    alone = dataclasses.replace(comparison, references={}, scores=())
    assert [hook.figures(alone) for hook in (chains, dissociation, water)] == [[], [], []]


def test_legends_stay_within_the_figure():
    """With the names of many models, short and long."""
    for models in (["QEq", "EEQ"], [f"a model with a long name, number {k}" for k in range(9)]):
        panel = Panel("a bond", "charge (e)", {name: ([1.0, 2.0], [0.1 * k, 0.2]) for k, name in enumerate(models)})
        figure = panels_figure([panel, panel], models, "distance")
        figure.draw_without_rendering()
        (legend,) = figure.legends
        box, whole = legend.get_window_extent(), figure.bbox
        assert len(legend.get_texts()) == len(models)
        assert whole.x0 <= box.x0
        assert whole.y0 <= box.y0
        assert box.x1 <= whole.x1
        assert box.y1 <= whole.y1
