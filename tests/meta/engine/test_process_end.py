"""How an engine's program ended, in words for the one who has to mend it."""

import signal
import sys

import pytest

from fixtures.engine.process import EngineProcess


@pytest.mark.parametrize(
    ("number", "means"),
    [
        (signal.SIGILL, ": an instruction that this CPU does not have, or that the build got wrong; build the engine on this machine"),
        (signal.SIGSEGV, ""),
    ],
)
def test_a_signal_is_named_and_explained_where_it_has_one_cause(tmp_path, number, means):
    argv = (sys.executable, "-c", f"import os; os.kill(os.getpid(), {int(number)})")
    with EngineProcess(argv, {}, tmp_path / "log") as process:
        assert process.wait(60)
        assert process.describe_end() == f"killed by signal {int(number)} ({number.name}{means})"
