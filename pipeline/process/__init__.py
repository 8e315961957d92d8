"""What a process runs with: its device, its files, its fellows, its progress and its end."""
