"""What goes wrong with an archive that its user can put right."""


class ArchiveError(ValueError):
    """An archive cannot be recognised as asked."""
