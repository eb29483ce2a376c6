"""README tables that are generated from data stay what the data says."""

from support.places import ROOT

from fixtures.catalog.load import load_requirements

README = ROOT / "README.md"
BEGIN, END = "<!-- requirements:begin", "<!-- requirements:end -->"


def table():
    rows = ["| id | marker | tier | MUST |", "|---|---|---|---|"]
    rows += [f"| {r.id} | `{r.marker}` | {r.tier} | {r.must} |" for r in sorted(load_requirements(), key=lambda r: r.id)]
    return rows


def test_requirement_table_is_the_catalog():
    text = README.read_text("utf-8")
    block = text[text.index(BEGIN) : text.index(END)].splitlines()[1:]
    assert [line for line in block if line] == table(), "README.md: put these lines there:\n" + "\n".join(table())
