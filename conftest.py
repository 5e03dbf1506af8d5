"""Wires the fixtures into pytest, for the suites and for our own tests."""
