"""Settings of every job, one a file; importing them imports no network, dataset or teacher."""
