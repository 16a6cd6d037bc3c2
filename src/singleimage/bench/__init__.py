"""Benchmarks: methods compared on photos, as in the papers."""
