"""Teachers known by a short name: one family a file, one row a teacher, one line a family in
`registry`."""
