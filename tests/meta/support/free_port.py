"""A TCP port that nobody has, for tests whose servers run beside those of other workers."""

import socket


def free_port():
    """A port of 127.0.0.1 that was free just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
