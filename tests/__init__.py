"""The tests. Programs in ``tests.support`` are started by the hundred, so nothing is imported here."""
