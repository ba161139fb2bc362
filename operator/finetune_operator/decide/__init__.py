"""Decisions: pure functions of what is seen and the time."""
