"""`python -m steelyard`, the same as the command `steelyard`."""

from steelyard.cli import main

raise SystemExit(main())
