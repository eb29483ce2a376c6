"""Pages of samples as data, for tests that look into their sections."""

from fixtures.catalog.load import load_families
from fixtures.report.blocks import Card, Fold
from fixtures.report.page import build_page
from fixtures.report.summary import summary_of


def page_of(sample, **changes):
    """The page of a sample, parts of it changed."""
    given = {**sample._asdict(), **changes}
    return build_page(**given)


def summed(verdict, options=(), *, families=None):
    """The summary of a verdict, every record that it names at hand; its families are the shipped ones unless others are given."""
    return summary_of(verdict, options, seqs(verdict), load_families() if families is None else families)


def seqs(verdict):
    """The records that a verdict names."""
    return {gate.seq for candidate in verdict.candidates for gate in candidate.gates if gate.seq is not None}


def blocks_of(page, section_id):
    """All blocks of one section."""
    section = next(section for section in page.sections if section.id == section_id)
    return list(flat(section.blocks))


def flat(blocks):
    """All blocks, those inside folds and cards included."""
    for block in blocks:
        yield block
        if isinstance(block, Fold | Card):
            yield from flat(block.blocks)
