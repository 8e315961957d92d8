"""CleverDistiller: distil a frozen image teacher into a LiDAR student from an offline feature
cache."""

__version__ = "0.1.0"
