"""Networks over voxels, one a file; `sparse` alone knows how a sparse convolution is computed."""
