"""Services on the page: what differs from the running production arm or from the reviewed text, in words."""

import pytest
from support.report_pages import blocks_of, page_of
from support.report_sample import five_states

from fixtures.report.blocks import Exact, Fold, Table
from fixtures.report.html import render_page


def with_record(requirement, measured, raw):
    """The sample, the record of one gate of 26b-k3v4 replaced."""
    sample = five_states()
    evidence = tuple(
        record.model_copy(update={"measured": measured, "raw": raw})
        if (record.requirement, record.candidate) == (requirement, "26b-k3v4")
        else record
        for record in sample.evidence
    )
    return sample._replace(evidence=evidence)


def differences_of(sample, requirement):
    """The cell of differences in the table of deploy gates."""
    return column_of(sample, requirement, "differences")


def column_of(sample, requirement, column):
    """The cell of 26b-k3v4 in a column of the table of deploy gates."""
    (table,) = [b for b in blocks_of(page_of(sample), "services") if isinstance(b, Table) and b.caption.key == "services.gates"]
    at = [column.key for column in table.columns].index(column)
    rows = [row for group in table.groups for row in group.rows]
    (row,) = [row for row in rows if "26b-k3v4" in repr(row.cells[0]) and requirement in repr(row.cells[1])]
    return repr(row.cells[at])


@pytest.mark.parametrize("requirement", ["DEP-2", "DEP-4", "DEP-5"])
def test_no_difference_is_none_counted(requirement):
    assert "Num(text='0'" in differences_of(five_states(), requirement)


def test_differences_from_the_running_arm_are_counted():
    sample = with_record("DEP-2", {"differences": 7}, {"differences": [f"-x{number} differs" for number in range(7)]})
    told = differences_of(sample, "DEP-2")
    assert "Num(text='7'" in told
    assert "-x0 differs" in told
    assert "services.more_differences" in told
    assert "-x6 differs" not in told


def test_differences_from_the_reviewed_text_name_the_reviewer_and_claim_no_count():
    review = {"who": "the owner", "date": "2026-11-25", "reason": "r"}
    raw = {"rendered": "-ctk q4_0", "differences": ["production tbq-patch: -ctk q4_0, reviewed q8_0", "and 12 more"], "review": review}
    sample = with_record("DEP-4", {"rendered_sha256": "b" * 64, "reviewed_sha256": "a" * 64}, raw)
    told = differences_of(sample, "DEP-4")
    assert "-ctk q4_0, reviewed q8_0" in told
    assert "and 12 more" in told
    assert "Num(" not in told
    assert "reviewed by the owner on 2026-11-25" in render_page(page_of(sample))


def test_the_rendered_text_can_be_unfolded():
    folds = [block for block in blocks_of(page_of(five_states()), "services") if isinstance(block, Fold)]
    exact = [block for fold in folds for block in fold.blocks if isinstance(block, Exact) and "DEP-4" in repr(block.label)]
    assert exact
    assert exact[0].excerpt.shown.startswith("production tbq-patch")


def test_a_record_of_an_older_suite_that_only_says_whether_it_was_reviewed_is_shown():
    assert differences_of(with_record("DEP-4", {"reviewed": True}, {}), "DEP-4") == "Cell(lines=())"


def test_the_exposure_of_rendered_and_installed_unit_stand_apart():
    measured = {"rendered_exposure": 1.8, "installed_exposure": 9.2, "hiding": 0, "gpu_expected": True}
    sample = with_record("DEP-7", measured, {"hiding": [], "not_installed": ""})
    told = column_of(sample, "DEP-7", "exposure")
    assert told.index("'1.8'") < told.index("services.rendered") < told.index("'9.2'") < told.index("services.installed")


def test_a_unit_that_is_not_installed_has_no_exposure():
    sample = with_record("DEP-7", {"rendered_exposure": 1.8, "installed_exposure": None}, {})
    told = column_of(sample, "DEP-7", "exposure")
    assert "services.rendered" in told
    assert "services.installed" not in told


def test_what_systemd_says_of_the_installed_unit_is_shown():
    line = "/etc/systemd/system/x.service:4: Unknown key 'Bogus'"
    sample = with_record("DEP-8", {"verify_exit": 1, "exposure": 9.2}, {"stderr": [line], "faults": [], "hidden": []})
    assert "'1'" in column_of(sample, "DEP-8", "verify_exit")
    assert "'9.2'" in column_of(sample, "DEP-8", "exposure")
