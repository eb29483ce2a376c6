"""Losslessness on the page: a histogram of margins, and each token that is another one."""

from support.evidence_samples import REQUIREMENTS
from support.report_pages import blocks_of, page_of
from support.report_sample import five_states

from fixtures.report.blocks import Chart, Fold


def lossless_blocks():
    """Of a run in which every record of LOSS-1 is the requirement's example."""
    sample, example = five_states(), REQUIREMENTS["LOSS-1"].example
    shown = {"measured": example.measured, "raw": example.raw}
    evidence = tuple(record.model_copy(update=shown) if record.requirement == "LOSS-1" else record for record in sample.evidence)
    return blocks_of(page_of(sample._replace(evidence=evidence)), "lossless")


def test_the_histogram_counts_every_judged_token_once():
    chart = next(block for block in lossless_blocks() if isinstance(block, Chart) and block.anchor.startswith("lossless-"))
    counts = {row.label: int(row.bars[0].text) for row in chart.rows}
    assert sum(counts.values()) == 128
    assert {label: count for label, count in counts.items() if count} == {"0 nats": 127, "0.1 – 0.3 nats": 1}
    assert chart.unit == "tokens"


def test_a_parting_is_named_with_position_and_both_tokens():
    fold = next(block for block in lossless_blocks() if isinstance(block, Fold))
    (table,) = fold.blocks
    told = repr(table.groups[0].rows[0])
    for expected in ("speed-code 2", "'25'", "'12'", "11 短", "0.10650"):
        assert expected in told, told


def test_the_divergence_rate_has_a_chart():
    charts = [block for block in lossless_blocks() if isinstance(block, Chart)]
    assert any(chart.unit == "%" for chart in charts)
