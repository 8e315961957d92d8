"""Weights that others published, as students here; students from the Hugging Face Hub."""
