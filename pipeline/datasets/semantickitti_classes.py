"""Classes of the SemanticKITTI benchmark and the raw ids of its label files, which ScribbleKITTI
and others share."""

from .readers.sweep_files import class_table

RAW_IDS = {
    "car": (10, 252),
    "bicycle": (11,),
    "motorcycle": (15,),
    "truck": (18, 258),
    "other-vehicle": (13, 16, 20, 256, 257, 259),
    "person": (30, 254),
    "bicyclist": (31, 253),
    "motorcyclist": (32, 255),
    "road": (40, 60),
    "parking": (44,),
    "sidewalk": (48,),
    "other-ground": (49,),
    "building": (50,),
    "fence": (51,),
    "vegetation": (70,),
    "trunk": (71,),
    "terrain": (72,),
    "pole": (80,),
    "traffic-sign": (81,),
}
"""Raw ids of each class; moving objects (252-259) join their class, lane markings (60) the road."""
CLASSES = tuple(RAW_IDS)
LABEL_IDS = (10, 11, 15, 18, 20, 30, 31, 32, 40, 44, 48, 49, 50, 51, 70, 71, 72, 80, 81)
"""Raw id that stands for each class in predictions (semantic-kitti-api's ``learning_map_inv``)."""
UNLABELLED = (0, 1, 52, 99)
"""Raw ids of unlabelled, outlier, other-structure and other-object."""
TABLE = class_table(RAW_IDS.values(), UNLABELLED)
"""(65536,) int16, see `label_table`."""
