"""What `clever ablate` is made of: cells, how one is run, several at once, the account."""
