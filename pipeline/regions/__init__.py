"""Regions of camera images on their way into a store: superpixels, masks in files, shards."""
