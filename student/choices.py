"""What can be chosen of a student's training, by name; imports nothing heavy."""

from typing import Literal

StudentName = Literal["minkunet34", "minkunet18", "minkunet-tiny", "ptv3", "ptv3-256", "ptv3-tiny"]
"""The students; each has its line in the table of `registry`."""

DistillationLoss = Literal["l2", "mse", "cosine"]
Weighting = Literal["view", "pair"]

Aggregation = Literal["source", "radius"]
QueryPattern = Literal["triple", "thirds"]
Distance = Literal["uniform", "fixed"]
IntensityError = Literal["mse", "l1"]
