"""What a pre-training run is made of: its stores, networks, weights and result."""
