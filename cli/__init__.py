"""The `clever` command: parses, calls one job, prints."""
