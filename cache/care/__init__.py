"""What is done to a finished store: summary, manifest, verification, repair, copies, dropped
layers."""
