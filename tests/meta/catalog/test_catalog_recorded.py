"""The catalog of a recorded run is its own; today's stands in only for what an older suite did not record, and says so."""

import pytest
from pydantic import ValidationError
from support.report_sample import five_states

from fixtures.catalog.lanes import Lanes
from fixtures.catalog.load import load_families, load_lanes, load_requirements
from fixtures.catalog.recorded import recorded_catalog
from fixtures.catalog.requirement import Family

MANIFEST = five_states().manifest


def changed(**changes):
    return MANIFEST.model_copy(update=changes)


def test_a_run_of_today_records_everything():
    catalog = recorded_catalog(MANIFEST)
    assert catalog.not_recorded == ()
    # examples are for tests of the judges and in no manifest
    assert catalog.requirements == tuple(item.model_copy(update={"example": None, "attested_range": None}) for item in load_requirements())
    assert (catalog.families, catalog.lanes) == (load_families(), load_lanes())


def test_what_was_recorded_counts_whatever_today_says():
    lanes = Lanes.model_validate(MANIFEST.lanes)
    first, *others = MANIFEST.requirements
    other = {**first, "limit": "another", "zh-TW": None, "order": 999}
    families = ({"id": "audit", "name": "looks", "zh-TW": "查看", "title": "t", "runbook": 3, "attachable": False},)
    catalog = recorded_catalog(changed(requirements=(other, *others), families=families))
    assert (catalog.requirements[0].limit, catalog.requirements[0].zh_tw, catalog.requirements[0].order) == ("another", None, 999)
    assert catalog.families == (Family.model_validate(families[0]),)
    assert catalog.lanes == lanes
    assert catalog.not_recorded == ()


def test_keys_that_an_older_suite_did_not_know_are_todays_and_named():
    older = tuple({key: value for key, value in item.items() if key not in ("limit", "order")} for item in MANIFEST.requirements)
    gone = {**older[0], "id": "OLD-1"}
    catalog = recorded_catalog(changed(requirements=(*older, gone), families=(), lanes={}))
    assert catalog.not_recorded == ("lanes", "families", "requirements.limit", "requirements.order")
    assert [item.limit for item in catalog.requirements[:-1]] == [item.limit for item in load_requirements()]
    assert (catalog.requirements[-1].limit, catalog.requirements[-1].order) == ("", 0), "today asks for no such thing"


def test_a_catalog_that_does_not_fit_is_refused():
    with pytest.raises(ValidationError):
        recorded_catalog(changed(requirements=({"id": "X"},)))
