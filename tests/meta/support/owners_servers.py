"""Servers that no session started, as an owner has them."""

from contextlib import contextmanager


@contextmanager
def killed_in_the_end():
    """The list of processes that a test has started."""
    started = []
    try:
        yield started
    finally:
        for process in started:
            process.kill()
            process.wait()
