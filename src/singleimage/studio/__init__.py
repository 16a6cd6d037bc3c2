"""The page where an artist works: a small server on this machine, and what it serves."""
