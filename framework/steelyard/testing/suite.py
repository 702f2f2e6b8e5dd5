"""The conformance suite: everything that the contract promises of any plugin, as tests."""

from steelyard.testing._declaring import DeclarationChecks
from steelyard.testing._drafting import DraftChecks
from steelyard.testing._measuring import MeasureChecks
from steelyard.testing._training import TrainingChecks


# pytest runs the checks of the last base first.
class PluginSuite(MeasureChecks, TrainingChecks, DraftChecks, DeclarationChecks):
    """Subclass it in a test file, set `plugin`, and pytest (or unittest's loader by hand) runs every check.

        class TestMine(PluginSuite):
            plugin = Mine(strength=0.5)

    One defect fails one check; checks that build on what has failed are skipped and name it. Where a plugin needs other
    surroundings than a tiny classifier of images, override `task`, `data`, `adapter`, `trainer`, `seed` or `key`.
    """
