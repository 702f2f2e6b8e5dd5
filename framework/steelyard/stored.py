"""A finished run as its folder keeps it; read without torch."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from steelyard.folder import read_json
from steelyard.narrowing import is_mapping
from steelyard.scorecard import Scorecard


@dataclass(frozen=True)
class StoredRun:
    """A run folder, opened for reading.

    Attributes:
        folder: The run folder.
    """

    folder: Path

    @cached_property
    def scorecard(self) -> Scorecard:
        """What was measured and judged.

        Raises:
            FileNotFoundError: If the run ended before it was weighed.
        """
        return Scorecard.from_json(read_json(self.folder / "scorecard.json"))

    @cached_property
    def config(self) -> dict[str, Any]:
        """The composed config, secrets masked."""
        import yaml

        # Five times as fast as OmegaConf, whose interpolations stay text here anyway.
        loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        config: Any = yaml.load((self.folder / "config.yaml").read_text(encoding="utf-8"), loader)  # noqa: S506 - safe
        if not is_mapping(config):
            raise ValueError(f"{self.folder / 'config.yaml'} holds no mapping")
        return dict(config)

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """Versions, git state, seeds, data fingerprint, device, command."""
        return read_json(self.folder / "provenance.json")
