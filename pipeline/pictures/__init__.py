"""Pictures of features, predictions and curves."""
