"""Corrupted frames: derived or read in place, written, scored, drawn."""
