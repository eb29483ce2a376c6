"""A good waiver and a good attested reading, as TOML tables, to be spoiled or used."""

WAIVER = {
    "requirement": "KV-1",
    "candidate": "twin42-q8",
    "reason": "the figure is off by design in this test",
    "who": "Ann",
    "date": "2026-11-20",
    "expires": "2026-12-20T00:00:00Z",
}
READING = {
    "requirement": "PPL-1",
    "candidate": "31b-k3v3",
    "value": 30.2595,
    "unit": "PPL",
    "source": "readiness report, Candidate Final Readiness",
    "date": "2026-05-14",
    "who": "owner",
}
