"""Recipes: every setting of a method as a frozen value, and the presets."""
