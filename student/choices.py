"""What can be chosen of a student's training, by name; imports nothing heavy."""

from typing import Literal

DistillationLoss = Literal["l2", "mse", "cosine"]
Weighting = Literal["view", "pair"]


Aggregation = Literal["source", "radius"]
Layout = Literal["triple", "thirds"]
Distance = Literal["uniform", "fixed"]
IntensityError = Literal["mse", "l1"]
