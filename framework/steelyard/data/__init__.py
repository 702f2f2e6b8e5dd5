"""LightningDataModules that know their sizes, modality and fingerprint."""
