"""The jobs that join cache and student, and the datasets they run on."""
