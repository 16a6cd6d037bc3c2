"""Photos and clips: read from files, shown, written. Nothing else knows formats or integers."""
