"""A student with published weights, whoever published them."""

from dataclasses import dataclass

from ..student import Student


@dataclass(frozen=True, slots=True)
class ImportedStudent:
    """A student with published weights.

    Attributes:
        student: on the CPU, in evaluation mode.
        network: what its publisher calls it.
        publisher: who published the code: ``Pointcept``, ``ScaLR``.
        tensors: tensors that it took.
        head_names: names of the tensors of a head or classifier, which nothing here needs.
    """

    student: Student
    network: str
    publisher: str
    tensors: int
    head_names: tuple[str, ...]
