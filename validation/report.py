"""A comparison as one HTML file that needs nothing else: tables, figures and what they mean."""

from __future__ import annotations

import base64
import os
import platform
from datetime import UTC, datetime
from html import escape
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cgdft.validation.columns import COLUMNS, Column
from cgdft.validation.compare import Comparison
from cgdft.validation.reference import Reference
from cgdft.validation.score import Score, scale

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

#: Molecules drawn; a report of more names those that are only in the table.
DRAWN = 30

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
th, td { padding: .22rem .65rem; text-align: right; white-space: nowrap; }
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
figcaption { font-size: 13px; color: #5b6777; }
code { font-size: .92em; background: #f0f3f6; padding: 0 .2em; }
@media print { body { margin: 0; max-width: none; } h2 { break-after: avoid; } figure { break-inside: avoid; } }
"""


def write_report(comparison: Comparison, path: str | os.PathLike[str]) -> Path:
    """Write the report, whole or not at all; returns its path.

    Raises FileNotFoundError for a folder that does not exist.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"`path` must be in a folder that exists, got {path}")
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        unfinished.write_text(as_html(comparison), encoding="utf-8")
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    return path


def as_html(comparison: Comparison) -> str:
    """The report as text; everything that a user or a file named is escaped."""
    models, molecules = comparison.models, list(comparison.references)
    title = f"{_listed(models) or 'No model'} against density-functional theory"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="lead">{_count(models, "model")} of the coarse-grained density on {_count(molecules, "molecule")}: '
        f"{escape(_listed(molecules) or 'none')}. The reference is {escape(_methods(comparison))}. Hartree atomic "
        "units unless a column says otherwise.</p>",
        _facts(comparison),
        "<h2>Summary</h2>",
        _summary(comparison),
        _worst(comparison),
        _failures(comparison),
        "<h2>Molecule by molecule</h2>",
        _scores(comparison),
        "<h2>What the columns are</h2>",
        _explanation(),
    ]
    parts += [_molecule(comparison, name) for name in molecules[:DRAWN]]
    if molecules[DRAWN:]:
        parts.append(f"<p>Not drawn, but in the table: {escape(', '.join(molecules[DRAWN:]))}.</p>")
    head = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
    )
    return head + "\n".join(part for part in parts if part) + "\n</body>\n</html>\n"


def _facts(comparison: Comparison) -> str:
    """How the numbers were made."""
    solutions = {score.model: score.solution for score in comparison.scores if score.solution is not None}
    described = [f"<code>{escape(repr(one.model))}</code>" for one in solutions.values()]
    provenances = [reference.provenance for reference in comparison.references.values()]
    settings: dict[str, Any] = provenances[0].get("settings", {}) if provenances else {}
    seconds = sum(float(one.get("wall_seconds", 0.0)) for one in provenances)
    accuracy = [one.get("accuracy", {}).get("hirshfeld_charge_or_dipole_error", 0.0) for one in provenances]
    rows = {
        "Models": "<br>".join(described),
        "Reference": escape(
            f"{_methods(comparison)}, PySCF {_all(p.get('pyscf') for p in provenances)}, "
            f"computed {_span(str(p.get('date', ''))[:10] for p in provenances)}, {seconds:.0f} s in all"
        ),
        "Settings": escape(", ".join(f"{name} = {value}" for name, value in settings.items())),
        "Accuracy": f"Hirshfeld multipoles miss total charge or dipole by at most {max(accuracy, default=0.0):.0e} e or e bohr",
        "Versions": f"cgdft {version('cgdft')}, PyTorch {version('torch')}, Python {platform.python_version()}",
        "Date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }
    lines = [f"<tr><th>{name}</th><td>{text}</td></tr>" for name, text in rows.items() if text]
    return f'<table class="facts">{"".join(lines)}</table>'


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


def _table(head: str, rows: Sequence[str]) -> str:
    return f'<div class="wide"><table>{head}<tbody>{"".join(rows)}</tbody></table></div>'


def _summary(comparison: Comparison) -> str:
    """Means over molecules, the best of each column marked."""
    if not comparison.scores:
        return "<p>No molecule has a reference: nothing was compared.</p>"
    whole = len(comparison.references)
    columns = [one for one in COLUMNS if one.error]
    means = {model: comparison.mean(model) for model in comparison.models}
    rivals = [mean for mean, count in means.values() if count == whole and len(means) > 1]
    best = {one.key: min((value for mean in rivals if (value := one.merit(mean)) is not None), default=None) for one in columns}
    rows = []
    for model, (mean, count) in means.items():
        marks = {one.key: "best" for one in columns if mean in rivals and one.merit(mean) == best[one.key] is not None}
        label = model if count == whole else f"{model} ({count} of {whole} molecules)"
        rows.append(_row(label, mean, marks, columns=columns))
    return (
        f"{_table(_head(columns), rows)}<p>Mean errors over {_count(list(comparison.references), 'molecule')}; "
        "smaller is better, and the smallest of each column is green. Models that take their charges from the "
        "reference have no error in them by construction; one that does not respond at all has a polarizability error "
        "of 100 %, which is no merit and never green.</p>"
    )


def _worst(comparison: Comparison) -> str:
    """Sentences that name each model's worst molecule."""
    if len(comparison.references) < 2:
        return ""
    items = []
    for model in comparison.models:
        cases = []
        for key in ("potential_inner", "dipole_error", "polarizability_error"):
            column = _column(key)
            score = comparison.worst(model, column)
            if score is not None and column.visible(score):
                cases.append(f"{column.title} {column.text(score)} {column.unit} for {score.molecule}")
        if cases:
            items.append(f"<li><b>{escape(model)}</b>: {escape('; '.join(cases))}.</li>")
    return f"<h3>Worst cases</h3><ul>{''.join(items)}</ul>" if items else ""


def _failures(comparison: Comparison) -> str:
    items = [
        f"<li><b>{escape(score.model)}</b> on {escape(score.molecule)}: {escape(score.reason)}</li>"
        for score in comparison.scores
        if score.reason
    ]
    items += [f"<li><b>{escape(name)}</b> has no reference: {escape(why)}</li>" for name, why in comparison.failed.items()]
    return f"<h3>Failures</h3><ul>{''.join(items)}</ul>" if items else ""


def _scores(comparison: Comparison) -> str:
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
        rows.append(_row("reference", scale(name, reference), {}, "reference"))
        for score in comparison.of_molecule(name):
            marks = {one.key: "worst" for one in COLUMNS if worst.get((score.model, one.key)) is score and one.visible(score)}
            rows.append(_row(score.model, score, marks))
    note = (
        "The row “reference” has the size of the quantity itself, which is the error of a model that says zero; "
        "for the polarizability it is the reference's value."
    )
    if several:
        note += " Orange: where this model does worst in this column."
    return f"{_table(_head(), rows)}<p>{note}</p>"


def _explanation() -> str:
    entries = [f"<dt>{escape(one.title)} ({_unit(one)})</dt><dd>{escape(one.about)}.</dd>" for one in COLUMNS]
    return (
        f"<dl>{''.join(entries)}</dl>"
        "<p>V_ref is the potential of the difference density: of nuclei and electrons, less that of superposed neutral "
        "spherical atoms. A model's density is the deviation from neutral atoms, so this is what it can reproduce; "
        "beyond two van der Waals radii both are the same, unless a neutral atom is as diffuse as lithium. Errors "
        "against the full potential are in the JSON output.</p>"
        "<p>Hirshfeld's charges are one definition of many, and small ones. A model with other charges is not wrong "
        "for that; molecular moments and the potential outside do not depend on a definition.</p>"
        "<p>A reference's polarizability is that of its basis set: without diffuse functions it is too small, for "
        "small molecules such as water by up to a half. Take a basis such as def2-SVPD where it matters.</p>"
    )


def _molecule(comparison: Comparison, name: str) -> str:
    """Figures of one molecule."""
    from cgdft.validation.pictures import as_png, charge_figure, potential_figure

    reference = comparison.references[name]
    scores = [score for score in comparison.of_molecule(name) if score.solution is not None]
    if not scores:
        return f"<h2>{escape(name)}</h2><p>No model was solved for this molecule.</p>"
    return (
        f"<h2>{escape(name)}</h2><p>{escape(_about(reference))}</p>"
        + _figure(
            as_png(potential_figure(reference, scores)),
            f"Potential of {name} on a plane, and the errors of the models",
            "Potential felt by a positive unit charge on the plane in which the nuclei extend most, and the error "
            "V - V_ref of each model, in the same colours (blue positive). Grey: within one van der Waals radius. "
            "Dashed: 1.4 radii, outside of which potentials are compared. Pale symbols: atoms off the plane.",
        )
        + _figure(as_png(charge_figure(reference, scores)), f"Charges of {name}", "Charges atom by atom, e.")
    )


def _figure(png: bytes, alt: str, caption: str) -> str:
    data = base64.b64encode(png).decode()
    return (
        f'<figure><img alt="{escape(alt)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _about(reference: Reference) -> str:
    text = (
        f"{len(reference.numbers)} atoms, total charge {reference.charge:+d} e"
        if reference.charge
        else (f"{len(reference.numbers)} atoms, neutral")
    )
    if reference.spin:
        text += f", {reference.spin} unpaired electrons"
    if reference.field.any():
        text += f", in the field {reference.field.tolist()} hartree/(e bohr)"
    dipole = ", ".join(f"{round(component, 4) + 0.0:.4f}" for component in reference.dipole)  # + 0.0: no minus zero
    return f"{text}; {reference.method} energy {reference.energy:.6f} hartree, dipole ({dipole}) e bohr."


def _unit(column: Column) -> str:
    return escape(column.unit).replace("^2", "<sup>2</sup>").replace("^3", "<sup>3</sup>")


def _column(key: str) -> Column:
    return next(one for one in COLUMNS if one.key == key)


def _methods(comparison: Comparison) -> str:
    return _all(reference.method for reference in comparison.references.values()) or "none"


def _all(values: Iterable[Any]) -> str:
    return ", ".join(sorted({str(value) for value in values}))


def _span(dates: Iterable[str]) -> str:
    found = sorted({date for date in dates if date})
    return " to ".join(dict.fromkeys((found[0], found[-1]))) if found else "at an unknown date"


def _count(names: list[str], what: str) -> str:
    return f"{len(names)} {what}{'' if len(names) == 1 else 's'}"


def _listed(names: list[str]) -> str:
    if len(names) > 12:
        names = [*names[:11], f"{len(names) - 11} more"]
    return ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else "".join(names)
