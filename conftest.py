"""Wires the fixtures into pytest, for the suites and for our own tests."""

# In the order in which they import one another: pytest must be the first to import each.
pytest_plugins = [
    "fixtures.options",
    "fixtures.outcomes",
    "fixtures.tidying",
    "fixtures.progress",
    "fixtures.bench",
    "fixtures.pages",
    "fixtures.hold",
    "fixtures.host",
    "fixtures.controller",
    "fixtures.guest",
    "fixtures.storage",
    "fixtures.integrity",
    "fixtures.throughput",
    "fixtures.kernel",
    "fixtures.trips",
]
