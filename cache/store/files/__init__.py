"""The files of a store: shards, Zarr metadata, local and remote reading, the lock."""
