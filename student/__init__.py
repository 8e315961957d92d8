"""Stage two's network: points in, features out; losses, augmentations."""
