"""What a frame's camera sees: KITTI's labels and results are those of its camera 2."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import FrameError
from ..datasets.base import LidarDataset
from ..datasets.kitti import KittiDataset
from ..datasets.readers.kitti_layout import KittiCalibration


@dataclass(frozen=True, slots=True)
class CameraView:
    """An image and how it was taken.

    Attributes:
        size: width and height, pixels.
    """

    calibration: KittiCalibration
    size: tuple[int, int]

    def points(self, cloud: NDArray[np.float32]) -> NDArray[np.float32]:
        """Those of the points (N, 4) in the LiDAR frame that fall into the image."""
        calibration, (width, height) = self.calibration, self.size
        pixels_from_lidar = calibration.projection @ calibration.camera0_from_lidar
        u, v, depth = pixels_from_lidar[:, :3] @ cloud[:, :3].T + pixels_from_lidar[:, 3:]
        ahead = depth > 0
        inside = (u >= 0) & (u < width * depth) & (v >= 0) & (v < height * depth)
        return cloud[ahead & inside]


def camera_view(dataset: LidarDataset, index: int) -> CameraView:
    """Camera 2 of KITTI's frames with their calibration; of another dataset the first camera, which
    then stands for camera 0 too.

    Raises:
        FrameError: the frame has no camera, or one whose images are not rectified; or as
            `LidarDataset.frame`.
    """
    if isinstance(dataset, KittiDataset):
        return CameraView(dataset.calibration(index), dataset.image_size(index))
    frame = dataset.frame(index)
    if not frame.cameras:
        raise FrameError(frame.id, "it has no camera, and KITTI's results need one")
    camera, *_ = frame.cameras
    if camera.lens:
        raise FrameError(
            frame.id, f"images of camera {camera.name} are not rectified, as KITTI's results need"
        )
    projection = np.concatenate([camera.intrinsics, np.zeros((3, 1))], 1)
    calibration = KittiCalibration(Path(camera.name), projection, camera.camera_from_lidar)
    return CameraView(calibration, (camera.width, camera.height))
