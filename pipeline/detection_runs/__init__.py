"""Runs that train a detector and measure it, and the table of several."""
