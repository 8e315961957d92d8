"""Stage one with the teacher that made a layer."""

from typing import Any

from ...cache.store.records.models import TeacherInfo
from ...cache.store.store import Store
from ...cache.teacher import load_teachers
from ...errors import CleverError
from ..datasets import LidarDataset
from ..process.device import choose_device
from ..settings.cache_teacher import CacheTeacherSettings
from .fill import LayerTask, StageOne
from .request import build_stage, teacher_settings


def rebuilt_stage(
    store: Store, info: TeacherInfo, dataset: LidarDataset, values: dict[str, Any], fault: str = ""
) -> StageOne:
    """Stage one of a layer as its request says, with other places and devices.

    Args:
        values: settings of `clever cache-teacher` beside the teacher's; those that are None count
            as not given.
        fault: what is wrong with the layer, for messages.

    Raises:
        CleverError: the layer was not made from images, or the teacher is another one (the
            differing fields are named).
    """
    state = f"{info.id} is {fault} and" if fault else info.id
    if info.reencoded_from or not info.request:
        raise CleverError(
            f"{state} was not made from images here, so it cannot be recomputed: drop it with "
            "`clever cache drop-teacher` and copy it again"
        )
    request = info.request.model_dump(include=set(CacheTeacherSettings.model_fields))
    own = {name: value for name, value in values.items() if value is not None}
    settings = CacheTeacherSettings(**{**request, **own, "dataset": store.base.dataset})
    (teacher,) = load_teachers(teacher_settings(settings), choose_device(settings.device))
    if differing := info.fingerprint.differences(teacher.fingerprint):
        raise CleverError(
            f"{info.id}{f' is {fault} and' if fault else ':'} this teacher is another one: "
            f"{differing}; give the weights that it was made with by `weights`"
        )
    return build_stage(settings, store, [LayerTask(info, teacher)], dataset)
