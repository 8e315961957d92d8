"""Training steps: cached frames and distillation, labelled frames and segmentation."""
