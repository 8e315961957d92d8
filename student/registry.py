"""Students by name.

A new one is a file with `build(name) -> Backbone`, a line in `STUDENTS` and its name in
`choices.StudentName`.
"""

from importlib import import_module
from typing import get_args

from ..errors import CleverError
from .choices import PTv3Form, StudentName
from .student import Student

STUDENTS: dict[StudentName, str] = {
    "minkunet34": "backbones.minkunet",
    "minkunet18": "backbones.minkunet",
    "minkunet-tiny": "backbones.minkunet",
    "ptv3": "backbones.ptv3",
    "ptv3-256": "backbones.ptv3",
    "ptv3-tiny": "backbones.ptv3",
    "waffleiron-48-768": "backbones.waffleiron",
    "waffleiron-48-768-plus": "backbones.waffleiron",
    "waffleiron-48-256": "backbones.waffleiron",
    "waffleiron-tiny": "backbones.waffleiron",
}
"""Name of every student: the module here that builds it (imported only when it is asked for)."""


def build_student(
    name: str,
    voxel_size: float,
    patch: int | None = None,
    ptv3_form: PTv3Form | None = None,
) -> Student:
    """The student of that name with fresh weights from torch's global generator.

    Args:
        name: one of `STUDENTS`.
        voxel_size: metres.
        patch: voxels that attend to each other, for students that have attention; None for their
            own default.
        ptv3_form: which PointTransformer V3; None for v3m1.

    Raises:
        CleverError: unknown name, a voxel size or patch that is not positive, or a patch or form
            for a student without.
    """
    module = next((module for student, module in STUDENTS.items() if student == name), None)
    if module is None:
        raise CleverError(f"unknown student {name}; known: {', '.join(STUDENTS)}")
    if not voxel_size > 0:
        raise CleverError(f"voxel size {voxel_size} m; it must be positive")
    backbone = import_module(f".{module}", __package__).build(name)
    if patch is not None:
        if backbone.patch is None:
            raise CleverError(
                f"student {name} has no attention, so there is no patch to set; leave it out"
            )
        if patch < 1:
            raise CleverError(f"patch of {patch} voxels; it must be positive")
        backbone.patch = patch
    if ptv3_form is not None:
        if backbone.ptv3_form is None:
            raise CleverError(
                f"student {name} is no PTv3, so there is no form to choose; leave `ptv3_form` out"
            )
        if ptv3_form not in get_args(PTv3Form):
            raise CleverError(
                f"unknown PTv3 form {ptv3_form}; known: {', '.join(get_args(PTv3Form))}"
            )
        backbone.ptv3_form = ptv3_form
    return Student(name, backbone, voxel_size)
