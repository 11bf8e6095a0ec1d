"""Models beside references: scores, tables, figures and the report."""
