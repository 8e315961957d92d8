"""What `clever benchmark` measures, and the generated stores that it measures on."""
