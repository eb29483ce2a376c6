"""How long gates took, as the archive has it: for people and plans."""

from contextlib import closing

import pytest
from support.archive_samples import KEY, LAST, record, run_name, write_run

from fixtures.evidence.archive import open_archive
from fixtures.records.blocked import NOT_BUILT, WINDOW_ENDED
from fixtures.records.evidence import EvidenceStatus

pytestmark = pytest.mark.usefixtures("own_cache")
ERROR = EvidenceStatus.ERROR


def test_durations_are_of_the_newest_record_that_measured(reports):
    write_run(reports, 1, record(1), record(1, case="a"))
    write_run(reports, 2, record(2))
    write_run(reports, 3, record(3, status=ERROR))
    with closing(open_archive(reports, "local", before=LAST)) as archive:
        assert archive.durations() == {KEY: 1.0, (*KEY[:2], "a"): 1.0}
    with closing(open_archive(reports, "local", before=run_name(2))) as archive:
        assert archive.durations() == {KEY: 1.0, (*KEY[:2], "a"): 1.0}


def test_what_a_window_broke_off_takes_at_least_that_long_and_counts_for_nothing_else(reports):
    ended = f"a/production was stopped: {WINDOW_ENDED} after 5 min"
    write_run(reports, 1, record(1), record(1, case="a"))
    for run, reason in ((2, ended), (3, "a lock is held"), (4, f"{NOT_BUILT}: {WINDOW_ENDED} after 5 min")):
        blocked = record(run).model_copy(update={"status": EvidenceStatus.BLOCKED, "reason": reason, "duration_s": 100.0 * run})
        write_run(reports, run, blocked, blocked.model_copy(update={"case": "b"}))
    with closing(open_archive(reports, "local", before=LAST)) as archive:
        assert archive.durations() == {KEY: 200.0, (*KEY[:2], "a"): 1.0, (*KEY[:2], "b"): 200.0}
        assert archive.first_durations() == {(KEY[1], record(1).arm): 1.0}
        assert not archive.knows((*KEY[:2], "b"))
        assert archive.newest(KEY, record(1).identity).status is EvidenceStatus.MEASURED
    write_run(reports, 5, record(5))
    with closing(open_archive(reports, "local", before=LAST)) as archive:
        assert archive.durations()[KEY] == 1.0, "it was measured as a whole since"
