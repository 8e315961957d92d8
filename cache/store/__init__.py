"""Where every byte of a store lies: layout, layers, commit records, shards, views, writer, reader,
lock."""
