"""The nuScenes schema, which generated drives share: tables, splits, boxes, sweeps."""
