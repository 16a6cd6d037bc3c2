"""Models, and the file they are kept in."""
