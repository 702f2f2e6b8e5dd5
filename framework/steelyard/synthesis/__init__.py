"""What made speech is weighed by: bits per sample, the distance of spectra, and whether it is understood."""

from steelyard.synthesis._recogniser import Recogniser
from steelyard.synthesis.frame_scoring import FrameScoring
from steelyard.synthesis.level_scoring import LevelScoring
from steelyard.synthesis.markov import Markov
from steelyard.synthesis.spectral import Cepstrum, distances

__all__ = ["Cepstrum", "FrameScoring", "LevelScoring", "Markov", "Recogniser", "distances"]
