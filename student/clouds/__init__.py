"""Point clouds before the network: augmentation, mixing, intensities, extents."""
