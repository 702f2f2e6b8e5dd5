"""The configs of Steelyard, composed by Hydra from `pkg://steelyard_conf`."""
