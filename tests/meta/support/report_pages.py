"""Pages of samples as data, for tests that look into their sections."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from fixtures.catalog.load import load_families
from fixtures.catalog.requirement import Family
from fixtures.records.signoff import RunVerdict
from fixtures.report.blocks import Block, Card, Fold
from fixtures.report.model import PageModel
from fixtures.report.page import build_page
from fixtures.report.summary import Summary, summary_of
from support.report_sample import Sample


def page_of(sample: Sample, **changes: Any) -> PageModel:
    """The page of a sample, parts of it changed."""
    given: dict[str, Any] = {**sample._asdict(), **changes}
    return build_page(**given)


def summed(verdict: RunVerdict, options: Sequence[str] = (), *, families: Sequence[Family] | None = None) -> Summary:
    """The summary of a verdict, every record that it names at hand; its families are the shipped ones unless others are given."""
    return summary_of(verdict, options, seqs(verdict), load_families() if families is None else families)


def seqs(verdict: RunVerdict) -> set[int]:
    """The records that a verdict names."""
    return {gate.seq for candidate in verdict.candidates for gate in candidate.gates if gate.seq is not None}


def blocks_of(page: PageModel, section_id: str) -> list[Block]:
    """All blocks of one section."""
    section = next(section for section in page.sections if section.id == section_id)
    return list(flat(section.blocks))


def flat(blocks: tuple[Block, ...]) -> Iterator[Block]:
    """All blocks, those inside folds and cards included."""
    for block in blocks:
        yield block
        if isinstance(block, Fold | Card):
            yield from flat(block.blocks)
