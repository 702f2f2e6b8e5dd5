"""What can happen to an input, by modality. Names only: nothing heavy is imported."""

IMAGE = (
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "contrast",
    "elastic_transform",
    "pixelate",
    "jpeg_compression",
)
"""Those of ImageNet-C."""

KINDS: dict[str, tuple[str, ...]] = {
    "image": IMAGE,
    "detection": IMAGE,
    "video": ("frame_drop", "frame_order", *IMAGE),
    "audio": ("noise", "gain", "clipping", "band_limit", "shift", "reverberation"),
    "table": ("jitter", "missing", "unit_slip"),
    "text": (
        "keyboard",
        "ocr",
        "case",
        "white_space",
        "punctuation",
        "homophones",
        "option_order",
        "template",
    ),
}
"""Modality -> its kinds, in the order of the report."""

ANY = ("noise",)
"""What can be done to inputs of which nothing else is known."""

SEVERITIES = (1, 2, 3, 4, 5)


def kinds_of(modality: str) -> tuple[str, ...]:
    """The kinds of a modality."""
    return KINDS.get(modality, ANY)
