"""3D boxes: their geometry, codes, augmentation and the measures of detection."""
