"""The JSON of a store: models of it, seals, commit records, checksums, older schemas."""
