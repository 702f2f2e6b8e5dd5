"""The scorecard to look at: terminal table and self-contained page."""
