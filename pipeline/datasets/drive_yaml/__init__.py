"""A user's own drive, described by one `drive.yaml`: its fields, its files, and a first draft."""
