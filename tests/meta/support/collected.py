"""A pytest plugin for a child: writes what it collected, with the markers of each test, as JSON into $META_COLLECTED."""

import json
import os
from pathlib import Path


def pytest_collection_finish(session):
    found = {item.nodeid: sorted({mark.name for mark in item.iter_markers()}) for item in session.items}
    Path(os.environ["META_COLLECTED"]).write_text(json.dumps(found))
