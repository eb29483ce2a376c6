"""The matrix and its charts: columns, rows, cells."""

from support.report_pages import blocks_of, flat, page_of
from support.report_sample import altered, five_states, host_of, run_of, with_gate

from fixtures.catalog.candidate import Role
from fixtures.catalog.requirement import Requirement
from fixtures.records.verdict import Judgement, Verdict
from fixtures.report.blocks import Chart, Table
from fixtures.report.dossier import open_dossier
from fixtures.report.sections import others
from fixtures.report.strings import strings

READY = run_of(host_of("dgx"), {})


def test_columns_come_from_the_requirement_list_alone():
    invented = [
        Requirement(id=f"NEW-{number}", title=f"t{number}", must="MUST", marker="stability", tier="required", runtime=False, area="a",
                    identity=(), source="test")
        for number in (1, 2)
    ]  # fmt: skip
    page = page_of(run_of(host_of("dgx"), {}, requirements=invented))
    assert [column.requirement for column in page.matrix.columns] == ["NEW-1", "NEW-2"]
    assert all(cell.verdict == Verdict.PASS for group in page.matrix.groups for row in group.rows for cell in row.cells)


def test_columns_stand_by_family_required_ones_before_advisory_ones_and_comparison_rows_last():
    matrix = page_of(five_states()).matrix
    assert [family.prefix for family in matrix.families] == list(dict.fromkeys(column.prefix for column in matrix.columns))
    assert sum(family.span for family in matrix.families) == len(matrix.columns)
    for family in matrix.families:
        advisory = [column.advisory for column in matrix.columns if column.prefix == family.prefix]
        assert len(advisory) == family.span
        assert advisory == sorted(advisory)
    assert [group.role for group in matrix.groups] == [Role.PROMOTED, Role.COMPARISON]
    assert matrix.groups[1].rows[0].sign.comparison


def test_a_gate_of_an_unlisted_requirement_still_shows():
    sample = READY
    candidate = sample.verdict.candidates[0]
    stray = candidate.gates[0].model_copy(update={"requirement": "XXX-9", "judgement": Judgement(verdict=Verdict.FAIL, reason="stray")})
    page = page_of(sample, verdict=altered(sample.verdict, candidate.candidate, gates=(*candidate.gates, stray)))
    assert "XXX-9" in [column.requirement for column in page.matrix.columns]


def test_cases_are_summed_to_the_worst_with_their_count():
    page = page_of(five_states())
    at = [column.requirement for column in page.matrix.columns].index("COH-1")
    cells = {row.candidate: row.cells[at] for group in page.matrix.groups for row in group.rows}
    assert (cells["26b-k3v3"].verdict, cells["26b-k3v3"].count) == (Verdict.FAIL, "1/3")
    assert (cells["26b-k3v4"].verdict, cells["26b-k3v4"].count) == (Verdict.PASS, "3/3")
    assert cells["31b-k3v4"].verdict is None
    assert "comparison row" in cells["31b-k3v4"].exempt


def test_rows_that_are_never_promoted_stand_in_a_section_of_their_own():
    table = next(block for block in blocks_of(page_of(five_states()), "others") if isinstance(block, Table))
    assert [group.title.id for group in table.groups if group.title] == ["control", "reference", "side", "withdrawn"]
    text = repr([section for section in page_of(five_states()).sections if section.id in {"speed", "candidates"}])
    assert "seed-prime" not in text
    assert "26b-canary" not in text


def test_speed_chart_shows_limit_spread_and_verdict():
    chart = next(block for block in blocks_of(page_of(five_states()), "speed") if isinstance(block, Chart))
    row = next(row for row in chart.rows if row.label == "26b-k3v3")
    bar = row.bars[0]
    assert row.verdict == Verdict.FAIL
    assert row.limit_pct is not None
    assert bar.value_pct < row.limit_pct
    assert bar.interval_pct is not None
    assert bar.interval_pct[0] < bar.value_pct < bar.interval_pct[1]
    assert len(bar.points_pct) == 6


def test_a_limit_of_something_else_is_not_drawn_into_the_speed_chart():
    sample = five_states()
    varied = Judgement(verdict=Verdict.INVALID, reason="requests vary by 6 %", measured=6.0, limit=4.0, margin=-2.0, unit="%")
    page = page_of(sample, verdict=with_gate(sample.verdict, "26b-k3v3", "TPS-1", judgement=varied))
    chart = next(block for block in blocks_of(page, "speed") if isinstance(block, Chart))
    row = next(row for row in chart.rows if row.label == "26b-k3v3")
    assert (row.limit_pct, row.limit_text) == (None, "")


def test_every_column_of_ours_has_a_title():
    known = strings("en").messages
    columns = [column for section in page_of(five_states()).sections for column in _columns(section) if section.id != "audit"]
    assert {column.key for column in columns if column.title is None and f"column.{column.key}" not in known} == set()


def _columns(section):
    for block in flat(section.blocks):
        if isinstance(block, Table):
            yield from block.columns


def test_a_withdrawn_row_says_what_measures_it_again_and_how_that_stands():
    sample = five_states()
    host = sample.manifest.host
    entries = [
        {**entry, "role": "retest", "retests": "seed-prime-ab"} if entry["id"] == "31b-k3v4" else entry for entry in host["candidates"]
    ]
    manifest = sample.manifest.model_copy(update={"host": {**host, "candidates": entries}})
    dossier = open_dossier(manifest, sample.verdict, sample.evidence, sample.launches, sample.links)
    rows = {row.anchor: row for group in others.section(dossier).blocks[0].groups for row in group.rows}
    needs = rows["c-seed-prime-ab"].cells[3].lines
    assert [getattr(part, "key", getattr(part, "text", "")) for part in needs[1]][:2] == ["others.retested", "31b-k3v4"]
    assert len(rows["c-tbq-mode14-15"].cells[3].lines) == 1
