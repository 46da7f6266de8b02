"""Faces: reading pictures, finding the faces in them, and aligning each to a named template."""
