"""Which lever to pull, and how large a batch may be, before anything is spent."""
