"""Layouts and files that several datasets share: sweeps, labels, tables, poses, times."""
