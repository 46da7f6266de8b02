"""The error of this room."""


class EvaluationError(ValueError):
    """The weights and the data do not fit each other, or what was asked for cannot be measured."""
