"""Sizes, windows, resizing, pyramids and noise: images at several scales."""
