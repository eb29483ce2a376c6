"""How many bad inputs there are, and that every door has some."""

import importlib

MODULES = ("test_bad_values", "test_bad_files", "test_bad_programs", "test_bad_sessions")


def test_there_are_more_than_a_hundred(request):
    groups = [cases for name in MODULES for cases in importlib.import_module(f"doors.{name}").CASES]
    assert len(groups) >= 15
    assert all(len(cases) >= 3 for cases in groups)
    assert sum(map(len, groups)) > 150
