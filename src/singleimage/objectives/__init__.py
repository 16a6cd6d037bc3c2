"""Objectives: the losses of the players and the order of their turns."""
