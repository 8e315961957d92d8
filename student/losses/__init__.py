"""Losses, one a file with its own test."""
