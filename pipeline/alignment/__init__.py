"""How well LiDAR and camera images fit together: depth edges of the sweep on edges of the image."""
