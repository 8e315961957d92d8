"""What goes out to others: an output for each input, label files, cards."""
