# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingImports=false
"""The perceptron that a Keras user begins with."""

import math
from typing import Any

import keras


def perceptron(input_shape: tuple[int, ...], classes: int) -> Any:
    """Dense layers of 128 units (ReLU) and one for each class (softmax), Adam and sparse categorical cross-entropy."""
    model = keras.Sequential(
        [
            keras.Input(shape=(math.prod(input_shape),)),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dense(classes, activation="softmax"),
        ]
    )
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model
