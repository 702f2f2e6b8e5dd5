"""A module that does not import."""

raise RuntimeError("built for another version")
