"""KV memory on the page: sizes, what memory is left, savings, and what a report claimed."""

import re

from support.report_pages import blocks_of, page_of
from support.report_sample import FIVE_STATES, five_states, host_of, run_of

from fixtures.records.verdict import Verdict
from fixtures.report.blocks import Chart, Table


def test_kv_chart_shows_computed_and_allocated_of_launched_candidates():
    chart = next(block for block in blocks_of(page_of(five_states()), "kv") if isinstance(block, Chart))
    assert [bar.series.id for bar in chart.rows[0].bars] == ["computed", "allocated"]
    assert "31b-k3v3" not in [row.label for row in chart.rows]


def test_kv_section_shows_types_and_what_memory_is_taken_and_asks_for_the_budget():
    blocks = blocks_of(page_of(five_states()), "kv")
    captions = [block.caption.key for block in blocks if isinstance(block, Table)]
    assert captions == ["kv.table", "kv.types", "kv.memory", "evidence.unmeasured"]
    assert "kv.no_budget" in repr(blocks)
    assert "KV-4" not in repr([block for block in blocks if isinstance(block, Table) and block.caption.key == "evidence.unmeasured"])


def test_headroom_is_shown_where_the_host_states_a_budget():
    sample = run_of(host_of("dgx", memory={"budget_mib": 65536.0}), FIVE_STATES)
    memory = next(b for b in blocks_of(page_of(sample), "kv") if isinstance(b, Table) and b.caption.key == "kv.memory")
    assert {"budget", "headroom", "largest_context"} <= {column.key for column in memory.columns}
    assert "kv.no_budget" not in repr(blocks_of(page_of(sample), "kv"))


def test_savings_stand_on_every_page_and_carry_no_verdict():
    sample = run_of(host_of("dgx"), dict.fromkeys(FIVE_STATES, Verdict.NOT_RUN))
    chart, table, state = blocks_of(page_of(sample, launches=()), "savings")
    assert isinstance(chart, Chart)
    assert next((row.label, row.verdict, len(row.bars)) for row in chart.rows) == ("gemma4-e2b", None, 4)
    assert isinstance(table, Table)
    assert [len(group.rows) for group in table.groups] == [4] * 6
    assert "qwen3.6-27b" in repr(state)


def test_every_claim_is_shown_once_with_its_finding():
    told, table = blocks_of(page_of(five_states()), "claims")
    assert "{'claims': 18, 'confirmed': 6, 'contradicted': 12}" in repr(told)
    assert isinstance(table, Table)
    assert sum(len(group.rows) for group in table.groups) == 18
    assert {"claims.times_context", "claims.naive_bit_ratio"} <= set(re.findall(r"claims\.\w+", repr(table)))


def test_without_a_record_of_claims_there_is_no_section_of_them():
    sample = run_of(host_of("dgx"), dict.fromkeys(FIVE_STATES, Verdict.NOT_RUN))
    assert "claims" not in [section.id for section in page_of(sample, launches=()).sections]
