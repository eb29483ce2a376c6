"""Everything is in fixtures/plugins; this file only names the plugins, each after those it imports."""

pytest_plugins = [
    "fixtures.plugins.options",
    "fixtures.plugins.doctor",
    "fixtures.plugins.attest",
    "fixtures.plugins.choose",
    "fixtures.plugins.record_reference",
    "fixtures.plugins.gates",
    "fixtures.plugins.window",
    "fixtures.plugins.session",
    "fixtures.plugins.lifecycle",
    "fixtures.plugins.render_units",
]
