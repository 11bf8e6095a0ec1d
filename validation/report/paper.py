"""A comparison as a small paper, one HTML file that needs nothing else, and its numbers as JSON beside it."""

from __future__ import annotations

import base64
import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from cgdft.citations import references as bibliography
from cgdft.validation import suites
from cgdft.validation.report import prose
from cgdft.validation.report.columns import COLUMNS, Column
from cgdft.validation.report.compare import Comparison
from cgdft.validation.report.figures import FIGURES, Picture
from cgdft.validation.report.merit import Merit, merit
from cgdft.validation.report.observables import OBSERVABLES
from cgdft.validation.report.pictures import as_png, charge_figure, potential_figure
from cgdft.validation.report.score import NO_POTENTIAL, Score, scale
from cgdft.writing import write_whole

#: Molecules drawn; of more, those where the potential is worst.
DRAWN = 12

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif; color: #1c2430; background: #fff;
  max-width: 68rem; margin: 2rem auto 4rem; padding: 0 1.2rem; }
h1 { font-size: 1.6rem; margin: 0 0 .3rem; }
h2 { font-size: 1.2rem; margin: 2.6rem 0 .6rem; border-bottom: 1px solid #d7dde5; }
h3 { font-size: 1rem; margin: 1.6rem 0 .3rem; }
.lead { color: #45505f; margin-top: 0; max-width: 50rem; } p, dd, li { max-width: 52rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; margin: .6rem 0 1rem; }
th, td { padding: .22rem .5rem; text-align: right; white-space: nowrap; }
th { font-weight: 600; vertical-align: bottom; border-bottom: 1.5px solid #8a96a6; }
th .unit { font-weight: 400; color: #5b6777; } sup { line-height: 0; }
td:first-child, th:first-child { text-align: left; } tbody tr:hover { background: #f4f7fa; }
tr.group td { font-weight: 600; padding-top: .8rem; border-bottom: 1px solid #d7dde5; }
tr.reference td { color: #5b6777; } td.worst { background: #fdecd9; } td.best { background: #e3f2e6; }
td.failed { text-align: left; white-space: normal; color: #a3261b; max-width: 46rem; }
.facts td, .facts th { text-align: left; white-space: normal; border: 0; vertical-align: top; padding-left: 0; }
.facts th { font-weight: 600; padding-right: 1.4rem; white-space: nowrap; }
dt { font-weight: 600; margin-top: .4rem; } dd { margin-left: 1.2rem; color: #333d4a; }
figure { margin: .6rem 0 1.2rem; } img { max-width: 100%; height: auto; }
figcaption, caption { font-size: 13px; color: #5b6777; max-width: 52rem; }
caption { text-align: left; padding-bottom: .3rem; max-width: min(52rem, calc(100vw - 3rem)); }
body { counter-reset: figure table; }
figcaption::before { counter-increment: figure; content: "Figure " counter(figure) ". "; font-weight: 600; }
caption::before { counter-increment: table; content: "Table " counter(table) ". "; font-weight: 600; }
.abstract { background: #f4f7fa; padding: .8rem 1.1rem; max-width: 52rem; }
pre { font-size: 12px; overflow-x: auto; color: #333d4a; }
code { font-size: .92em; background: #f0f3f6; padding: 0 .2em; overflow-wrap: anywhere; }
@media print { body { margin: 0; max-width: none; } h2 { break-after: avoid; } figure { break-inside: avoid; } }
"""


def write_report(comparison: Comparison, path: str | os.PathLike[str]) -> Path:
    """Write the report, and its numbers in a file with the suffix .json, each whole or not at all; returns the report's path.

    Raises:
        FileNotFoundError: the folder does not exist.
        ValueError: the report would be the JSON file.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"`path` must be in a folder that exists, got {path}")
    numbers = path.with_suffix(".json")
    if numbers == path:
        raise ValueError(f"`path` must be that of an HTML file, got {path}: the JSON file beside it would have the same name")
    texts = {numbers: json.dumps(comparison.to_dict(), allow_nan=False, indent=1), path: as_html(comparison)}
    for file, text in texts.items():
        write_whole(file, text)
    return path


def as_html(comparison: Comparison) -> str:
    """The report as text; everything that a user or a file named is escaped."""
    with rc_context({"text.parse_math": False}):  # names of molecules and models are no formulas
        return _page(comparison)


def _page(comparison: Comparison) -> str:
    title = f"{prose.listed(comparison.models) or 'No model'} against density-functional theory"
    sections = {
        "Methods": [_facts(comparison), f"<p>{escape(prose.V_REF)}</p>", _definitions(comparison), _merits(comparison)],
        "Results": [_summary(comparison), *_observables(comparison)],
        "Series": _series(comparison),
        "Where it fails": [_worst(comparison), _failures(comparison)],
        "Molecule by molecule": [_scores(comparison)],
        "What the columns are": [_explanation()],
        "Molecules in pictures": _molecules(comparison),
        "References": [_references(comparison)],
    }
    parts = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>",
        f"<h1>{escape(title)}</h1>",
        f'<p class="lead">{escape(prose.methods(comparison))}; {datetime.now(UTC):%Y-%m-%d}; cgdft {version("cgdft")}</p>',
        f'<p class="abstract"><b>Abstract.</b> {escape(prose.abstract(comparison))}</p>',
    ]
    for name, content in sections.items():
        if any(content):
            parts += [f"<h2>{name}</h2>", *filter(None, content)]
    return "\n".join(parts) + "\n</body>\n</html>\n"


def _facts(comparison: Comparison) -> str:
    """How the numbers were made."""
    models: dict[str, Any] = {}
    for score in comparison.scores:
        if score.solution is not None and not (score.model in models and comparison.references[score.molecule].field.any()):
            models[score.model] = score.solution.model
    described = [
        f"<code>{escape(repr(one))}</code>" + (f" ({escape(', '.join(one.references))})" if one.references else "")
        for one in models.values()
    ]
    references = list(comparison.references.values())
    provenances = [one.provenance for one in references]
    rows = {
        "Models": "<br>".join(described),
        "Reference": escape(
            f"{prose.methods(comparison)}, PySCF {prose.sorted_all(p.get('pyscf') for p in provenances)}, computed "
            f"{prose.span(str(p.get('date', ''))[:10] for p in provenances)}, "
            f"{sum(float(p.get('wall_seconds', 0.0)) for p in provenances):.0f} s in all"
        ),
        "Settings": escape(prose.settings(references)),
        "Response": escape(
            f"of the charges and dipoles of {responding}" if (responding := prose.responding(references)) else ""
        ),
        "Accuracy": escape(prose.accuracy(references)),
        "Versions": f"cgdft {version('cgdft')}, PyTorch {version('torch')}, Python {platform.python_version()}",
        "Units": "Hartree atomic units unless a column says otherwise",
    }
    lines = [f"<tr><th>{name}</th><td>{text}</td></tr>" for name, text in rows.items() if text]
    return f'<table class="facts">{"".join(lines)}</table>'


def _definitions(comparison: Comparison) -> str:
    """What the stored multipoles are, in the words of the classes that compute them."""
    entries = []
    for name in dict.fromkeys(name for one in comparison.references.values() for name in one.moments):
        texts = [f"<pre>{escape(text)}</pre>" if formula else escape(text) for text, formula in prose.definition(name)]
        entries.append(f"<dt>{escape(name)}</dt>" + "".join(f"<dd>{text}</dd>" for text in texts))
    return f"<p>{escape(prose.compared_with(comparison))}</p><dl>{''.join(entries)}</dl>" if entries else ""


def _merits(comparison: Comparison) -> str:
    """What every stored definition keeps of the density, averaged over the molecules with a potential."""
    found: dict[tuple[str, int], list[Merit]] = {}
    for reference in comparison.references.values():
        potential = reference.potential_difference
        if potential is None or min(np.abs(potential[reference.shell == k]).max(initial=0.0) for k in (0, 1)) < NO_POTENTIAL:
            continue
        for name, moments in reference.moments.items():
            for lmax in range(round(moments.shape[1] ** 0.5)):
                found.setdefault((name, lmax), []).append(merit(reference, name, lmax))
    if not found:
        return ""
    rows = []
    for (name, lmax), merits in found.items():
        dipole, quadrupole, inner, outer, largest = np.mean(
            [(one.dipole, one.quadrupole, 100 * one.inner, 100 * one.outer, one.largest) for one in merits], axis=0
        )
        numbers = (lmax, f"{dipole:.3f}", f"{quadrupole:.3f}", f"{inner:.1f}", f"{outer:.1f}", f"{largest:.2f}", len(merits))
        rows.append(f"<tr><td>{escape(name)}</td>{''.join(f'<td>{one}</td>' for one in numbers)}</tr>")
    heads = {
        "l up to": "",
        "dipole": "e bohr",
        "quadrupole": "e bohr<sup>2</sup>",
        "potential<br>inner": "%",
        "potential<br>outer": "%",
        "largest<br>charge": "e",
        "molecules": "",
    }
    head = "".join(f'<th>{name}<br><span class="unit">{unit}</span></th>' for name, unit in heads.items())
    return _table(f"<thead><tr><th></th>{head}</tr></thead>", rows, prose.MERITS)


def _observables(comparison: Comparison) -> list[str]:
    """A subsection for each observable that has data."""
    parts = []
    for one in OBSERVABLES:
        picture, text = FIGURES[one.key](comparison), prose.finding(comparison, one)
        if picture is not None and text:
            parts += [f"<h3>{one.title}</h3><p>{escape(text)}</p>", _figure(*picture)]
    return parts


def _series(comparison: Comparison) -> list[str]:
    """What the suite itself draws, by its function `figures`, if it has one."""
    if comparison.suite not in suites.names():
        return []
    hook = vars(import_module(f"{suites.__name__}.{comparison.suite}")).get("figures")
    pictures: list[Picture] = hook(comparison) if hook is not None else []
    return [f"<h3>{escape(one[0])}</h3>{_figure(*one)}" for one in pictures]


def _summary(comparison: Comparison) -> str:
    """Means over molecules, the best of each column marked."""
    if not comparison.scores:
        return ""
    whole, noun = len(comparison.references), prose.noun(comparison)
    columns = [one for one in COLUMNS if one.error]
    means = {model: comparison.mean(model) for model in comparison.models}
    rivals = [mean for mean, count in means.values() if count == whole and len(means) > 1]
    best = {one.key: min((value for mean in rivals if (value := one.merit(mean)) is not None), default=None) for one in columns}
    rows = []
    for model, (mean, count) in means.items():
        marks = {one.key: "best" for one in columns if mean in rivals and one.merit(mean) == best[one.key] is not None}
        label = model if count == whole else f"{model} ({count} of {whole})"
        rows.append(_row(label, mean, marks, columns=columns))
    caption = (
        f"Mean errors over {prose.count(comparison.references, noun)}; the smallest of each column, of models that solve all, "
        f"is green. {comparison.partial()} {prose.NO_MERIT}"
    )
    return _table(_head(columns), rows, caption)


def _worst(comparison: Comparison) -> str:
    """Sentences that name each model's worst molecule."""
    if len(comparison.references) < 2:
        return ""
    items = []
    for model in comparison.models:
        cases = []
        for key in ("potential_inner", "dipole_error", "polarizability_error", "response_error"):
            column = _column(key)
            score = comparison.worst(model, column)
            if score is not None and column.visible(score):
                cases.append(f"{column.title} {column.text(score)} {column.unit} for {score.molecule}")
        if cases:
            items.append(f"<li><b>{escape(model)}</b>: {escape('; '.join(cases))}.</li>")
    return f"<h3>Worst cases of each model</h3><ul>{''.join(items)}</ul>" if items else ""


def _failures(comparison: Comparison) -> str:
    items = [f"<li><b>{escape(who)}</b>: {escape(why)}</li>" for who, why in prose.failures(comparison)]
    return f"<h3>Failures</h3><ul>{''.join(items)}</ul>" if items else ""


def _scores(comparison: Comparison) -> str:
    if not comparison.references:
        return ""
    several = len(comparison.references) > 1
    worst = {
        (model, one.key): comparison.worst(model, one)
        for model in comparison.models
        for one in COLUMNS
        if one.error and several
    }
    rows = []
    for name, reference in comparison.references.items():
        rows.append(f'<tr class="group"><td colspan="{len(COLUMNS) + 1}">{escape(name)}</td></tr>')
        rows.append(_row("reference", scale(name, reference, comparison.definition), {}, "reference"))
        for score in comparison.of_molecule(name):
            marks = {one.key: "worst" for one in COLUMNS if worst.get((score.model, one.key)) is score and one.visible(score)}
            rows.append(_row(score.model, score, marks))
    note = prose.ROWS
    if several:
        note += " Orange: where this model does worst in this column."
    return _table(_head(), rows, note)


def _explanation() -> str:
    entries = [f"<dt>{escape(one.title)} ({_unit(one)})</dt><dd>{escape(one.about)}.</dd>" for one in COLUMNS]
    return f"<dl>{''.join(entries)}</dl><p>{escape(prose.BASIS_SETS)}</p>"


def _molecules(comparison: Comparison) -> list[str]:
    """Figures of single molecules, where there is a plane to draw and a model to draw on it."""
    worst = {
        name: max((one.potential_inner or 0.0 for one in comparison.of_molecule(name)), default=0.0)
        for name, reference in comparison.references.items()
        if reference.plane_potential is not None and any(one.solution is not None for one in comparison.of_molecule(name))
    }
    chosen = list(worst) if len(worst) <= DRAWN else sorted(worst, key=lambda name: -worst[name])[:DRAWN]
    parts = [_molecule(comparison, name) for name in chosen]
    if len(worst) > DRAWN:
        parts.insert(
            0, f"<p>The {DRAWN} of {len(worst)} where a model has the largest error of the potential, the worst first.</p>"
        )
    return parts


def _molecule(comparison: Comparison, name: str) -> str:
    """Figures of one molecule."""
    reference, scores = comparison.references[name], comparison.of_molecule(name)
    solved = [score for score in scores if score.solution is not None]
    return (
        f"<h3>{escape(name)}</h3><p>{escape(prose.about(reference))}</p>"
        + _figure(
            f"Potential of {name} on a plane, and the errors of the models",
            potential_figure(reference, solved),
            prose.PLANE,
        )
        + _figure(f"Charges of {name}", charge_figure(reference, scores, comparison.definition), "Charges atom by atom, e.")
    )


def _references(comparison: Comparison) -> str:
    """BibTeX of what the models cite, as far as it is known here."""
    known = bibliography()
    keys = dict.fromkeys(key for one in comparison.scores if one.solution is not None for key in one.solution.model.references)
    return "".join(f"<pre>{escape(known[key])}</pre>" for key in keys if key in known)


def _figure(alt: str, figure: Figure, caption: str) -> str:
    data = base64.b64encode(as_png(figure)).decode()
    return (
        f'<figure><img alt="{escape(alt)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _head(columns: Sequence[Column] = COLUMNS) -> str:
    cells = []
    for one in columns:
        lines = "<br>".join(map(escape, one.head))
        cells.append(f'<th title="{escape(one.about)}">{lines}<br><span class="unit">{_unit(one)}</span></th>')
    return f"<thead><tr><th></th>{''.join(cells)}</tr></thead>"


def _row(label: str, score: Score, marks: Mapping[str, str], css: str = "", columns: Sequence[Column] = COLUMNS) -> str:
    name = f"<td>{escape(label)}</td>"
    if score.reason:
        return f'<tr>{name}<td class="failed" colspan="{len(columns)}">failed: {escape(score.reason)}</td></tr>'
    cells = []
    for one in columns:
        mark = f' class="{marks[one.key]}"' if one.key in marks else ""
        cells.append(f"<td{mark}>{escape(one.text(score))}</td>")
    opening = f'<tr class="{css}">' if css else "<tr>"
    return f"{opening}{name}{''.join(cells)}</tr>"


def _table(head: str, rows: Sequence[str], caption: str) -> str:
    return f'<div class="wide"><table><caption>{escape(caption)}</caption>{head}<tbody>{"".join(rows)}</tbody></table></div>'


def _unit(column: Column) -> str:
    return escape(column.unit).replace("^2", "<sup>2</sup>").replace("^3", "<sup>3</sup>")


def _column(key: str) -> Column:
    return next(one for one in COLUMNS if one.key == key)
