"""The three parts of a text."""

from enum import StrEnum


class Split(StrEnum):
    """What a part of a text is for. Its value is its name in files, charts and on command lines."""

    TRAIN = "train"
    VALID = "valid"
    TEST = "test"

    @classmethod
    def _missing_(cls, value: object) -> "Split | None":
        return cls.VALID if value == "validation" else None  # as it is also called

    @property
    def words(self) -> str:
        """Its name in a sentence, and in the schema's keys."""
        return "validation" if self is Split.VALID else self.value


EVALUATED = (Split.TEST, Split.VALID)
"""The splits that a model is scored on; first the one that a result is about, unless another is asked for."""
