"""The error of this room."""


class DataError(ValueError):
    """A dataset or prepared split cannot be used; the message says what was expected and what to do."""
