"""Results of the published sets as a table, a page of the manual and a page of HTML."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from cgdft.validation.published.charged_dimers import DIMERS
from cgdft.validation.published.dipeptides import DIPEPTIDES
from cgdft.validation.published.drawing import Known, binding, panels, values
from cgdft.validation.published.field_fireann import FIELD
from cgdft.validation.published.published_set import PublishedSet
from cgdft.validation.published.water_ion_clusters import WATER
from cgdft.validation.seeds import best, cell

__all__ = ["SETS", "Known", "Results", "markdown", "page", "section", "table"]

SETS: Mapping[str, PublishedSet[Any]] = {one.name: one for one in (DIMERS, WATER, FIELD, DIPEPTIDES)}
#: Architecture -> what `trained` gives for each seed.
Rows = Mapping[str, Sequence[Mapping[str, Any]]]
#: Name of a set -> the same, of those trained so far.
Results = dict[str, dict[str, list[dict[str, Any]]]]


def cells(name: str, rows: Rows) -> dict[str, list[tuple[str, bool]]]:
    """Architecture -> errors on the test frames, column by column, and whether they are the best or level with it."""
    columns = SETS[name].columns
    found = {column: {one: values(row, column) for one, row in rows.items()} for column in columns}
    first = {
        column: best({one: [1 - value for value in seeds] for one, seeds in of.items()} if column.endswith("r2") else of)
        for column, of in found.items()
    }
    return {one: [(cell(found[column][one]), one in first[column]) for column in columns] for one in rows}


def table(name: str, rows: Rows) -> str:
    """The same as Markdown, a line per architecture; bold are the best and those that are level with it."""
    columns = SETS[name].columns
    lines = ["| physics | " + " | ".join(columns.values()) + " |", "| --- " * (len(columns) + 1) + "|"]
    for one, line in cells(name, rows).items():
        lines.append(f"| {one} | " + " | ".join(f"**{text}**" if bold else text for text, bold in line) + " |")
    return "\n".join(lines)


def section(name: str, rows: Rows) -> str:
    """The task, what it took, the table and the source."""
    one, first = SETS[name], next(iter(rows.values()))[0]
    size = f"{first['train']} frames to train on, {first['test']} to test with, {first['epochs']} epochs."
    return f"## {one.title}\n\n{one.task} {size}\n\n{table(name, rows)}\n\nSource: {one.source}."


MARKDOWN = """# Published sets

{about}

In the tables are root mean square errors, means over seeds (of weights and of the order of frames); in brackets: from the
lowest seed to the highest. Bold are the best and those that are level with it: whose seeds reach into its range.

{sections}

## What it shows

{findings}
"""

FINDINGS = """
Two ions far apart are nearly right where charges belong to molecules: LES, local and shared charges and, less so, shared
response. The local model is off by half an electronvolt, and so, nearly, are QEq and its nonlinear relative: their charges
flow from one molecule to the other at any distance. Those of the response model flow too, as far as its sites are soft, but
begin at a reference that the surroundings give: a quarter of that error between two ions, and as much as theirs beside a
neutral molecule (CA). Where the response conserves the charge of what is bonded (shared response), a seventh of the latter is
left, but three quarters of the former: what a reference has too much is still shared by both molecules. LES has the best
energies of two ions, local and shared charges the best forces.

Water clusters larger than those of the training have half the error of energies where there are charges and dipoles, learnt
from those of the reference. Shared response has the best charges and, with response, the best dipoles of atoms; whole dipoles
are best with it and with shared charges. Charges alone (QEq) have more to carry than they can.

In a field that no training has seen, what is minimised answers, both response models best in E(F) - E(0), to 9 meV of 270;
polarizabilities are right to a fifth (shared response), a quarter (response) and a good third (nonlinear), though nothing in
the training asks for one (nearly all was lost with a reference density alone, without an electronegativity). Charges that are
functions of positions have the dipole but cannot be polarized by the field; latent charges of energies and forces have
not even that.

Of dipeptides, models told MBIS charges know most of dipoles and quadrupoles, and less of Born charges; shared response has the
best charges, the smallest errors of Born charges and is level with local and shared charges in dipoles and quadrupoles; local
charges have the best energies. Of latent charges of 96 frames one seed knows what dipoles look like, not how large they are,
another hardly even that. The authors trained on 495 frames.
"""


def markdown(results: Results) -> str:
    """The results as a page of the manual."""
    from cgdft.validation import published

    about = (published.__doc__ or "").split("\n\n", 1)[1].strip()
    sections = "\n\n".join(section(name, rows) for name, rows in results.items())
    return MARKDOWN.format(about=about, sections=sections, findings=FINDINGS.strip())


PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Published sets</title>
<style>body{{font:15px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}}
table{{border-collapse:collapse}}td,th{{padding:.2em .7em;text-align:right}}img{{max-width:100%}}</style>
<h1>Published sets</h1>
{sections}
</html>
"""


def page(results: Results, known: Known | None = None) -> str:
    """The report, one file of HTML; `known` are the points of the reference beside the binding curves, see `binding`."""
    parts = []
    for name, rows in results.items():
        one = SETS[name]
        head = "".join(f"<th>{column}</th>" for column in ("physics", *one.columns.values()))
        body = "".join(
            f"<tr><td>{architecture}</td>"
            + "".join(f"<td>{f'<b>{text}</b>' if bold else text}</td>" for text, bold in line)
            + "</tr>"
            for architecture, line in cells(name, rows).items()
        )
        about = f"<h2>{one.title}</h2><p>{one.task}</p>"
        parts.append(f"{about}<table><tr>{head}</tr>{body}</table><p>Source: {one.source}.</p>")
        parts.append(_image(panels(one.columns, rows), f"Errors of each architecture, strokes of each seed: {one.title}"))
        curves = {architecture: row[0]["curves"] for architecture, row in rows.items() if row[0]["curves"]}
        if curves:
            told = "Binding curves of the dimers, of the first seed; hollow points were not trained on"
            parts.append(_image(binding(curves, known), told))
    return PAGE.format(sections="\n".join(parts))


def _image(drawn: Figure, told: str) -> str:
    file = io.BytesIO()
    drawn.savefig(file, format="png", dpi=110)
    return f'<p><img alt="{told}" src="data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"><br>{told}.</p>'
