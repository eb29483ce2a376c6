"""Memory that processes hold, beside what is available."""

import subprocess
import sys

from fixtures.host.memory_held import _of, held_mib

TAKES = "import sys; kept = bytearray(300 << 20); print('taken', flush=True); sys.stdin.read()"


def test_what_a_process_takes_is_held_until_it_ends():
    with subprocess.Popen([sys.executable, "-c", TAKES], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as taker:
        taker.stdout.readline()
        assert 300 * 1024 < _of(taker.pid) < 400 * 1024
        assert held_mib() > 300
        taker.communicate()
    assert _of(taker.pid) == 0
