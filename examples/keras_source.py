"""A Keras model, its layers and compile settings as one writes them for Keras alone.

In this folder: `steelyard run experiment=keras model.build=keras_source.model`. The epochs and the batch size of
`model.fit(x_train, y_train, epochs=10, batch_size=32)` are `trainer.max_epochs` and `data.batch_size` there.
"""

import keras

# fmt: off
model = keras.Sequential([
    keras.layers.Dense(128, activation='relu', input_shape=(784,)),
    keras.layers.Dense(10, activation='softmax')
])

model.compile(optimizer='adam',
              loss='sparse_categorical_crossentropy',
              metrics=['accuracy'])
