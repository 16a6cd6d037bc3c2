"""Applications: plain functions on any generator."""
