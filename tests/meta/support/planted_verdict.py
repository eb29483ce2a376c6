"""What a signed-off session over planted faults found."""

import json


class Signed:
    """What a session's verdict says."""

    def __init__(self, session, folder=None):
        """`folder` is the run's own where sessions share their reports."""
        self.session, self.folder = session, folder or session.folder
        verdict = json.loads((self.folder / "verdict.json").read_text())
        self.master, self.relaxed = verdict["master"], verdict["relaxed"]
        self.candidates = {each["candidate"]: each for each in verdict["candidates"]}

    def signoff(self, candidate):
        return self.candidates[candidate]["signoff"]

    def gates(self, candidate):
        """[(requirement, verdict, reason)] of the candidate's required gates."""
        gates = [gate for gate in self.candidates[candidate]["gates"] if gate["tier"] == "required"]
        return [(gate["requirement"], gate["judgement"]["verdict"], gate["judgement"]["reason"]) for gate in gates]

    def written(self):
        """All that the run left behind but the servers' own logs, and what it said."""
        files = [file.read_bytes() for file in self.session.reports.rglob("*") if file.is_file() and file.parent.name != "logs"]
        return b"\n".join([self.session.output.encode(), *files]).decode("utf-8", errors="replace")

    def assert_clean(self, candidate):
        wrong = [gate for gate in self.gates(candidate) if gate[1] != "PASS"]
        assert (self.signoff(candidate), wrong) == ("READY", []), self.session.output[-3000:]

    def assert_caught(self, fault, candidate=None, **known):
        """The row's requirement ends as it says, with its words, and the candidate is not READY. `known` fills {names} in the words."""
        name = candidate or fault.id
        found = [(verdict, reason) for requirement, verdict, reason in self.gates(name) if requirement == fault.requirement]
        wrong = [gate for gate in self.gates(name) if gate[1] != "PASS"]
        assert fault.verdict in [verdict for verdict, _ in found], wrong
        reason = "; ".join(reason for verdict, reason in found if verdict == fault.verdict)
        missing = [words for words in fault.says if words.format(**known) not in reason]
        assert not missing, f"{missing} not in: {reason}"
        assert self.signoff(name) in (("NOT READY",) if fault.verdict == "FAIL" else ("NOT READY", "INCOMPLETE"))
