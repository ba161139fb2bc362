"""Recall, precision and cost of the data checks on texts with known faults."""
