"""Sides and scales for which resizing is tested."""

from hypothesis import settings
from hypothesis import strategies as st

quick = settings(max_examples=40, deadline=None, derandomize=True)
sides = st.integers(4, 24)
scales = st.floats(0.2, 3.0)
