"""Benchmarks: side by side in one run, alternated, reported as ratios with their spread."""
