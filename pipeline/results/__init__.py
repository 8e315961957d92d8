"""What a verb leaves behind: the folder of a run, tables, the paper's figures to set beside."""
