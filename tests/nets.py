"""Small Keras networks, each with something that a converter can stumble over. Import Keras first in a test."""

import numpy as np

SIZE, CLASSES = 16, 5


def pictures(count=8, channels=3) -> np.ndarray:
    """Inputs (count, 1, SIZE, SIZE, channels) in [-1, 1]."""
    shape = (count, 1, SIZE, SIZE, channels)
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)


def net(*, channels=3, size=SIZE, first=(), middle=(), last=None, classes=CLASSES, **input_options):
    """Convolution, batch norm, depthwise convolution, pool, dense, with seeded weights, none of them zero.

    first: layers before all that, on the picture. middle: before the pool. last: the activation.
    """
    import keras
    from keras import layers

    keras.utils.set_random_seed(1)
    x = image = keras.Input((size, size, channels), **input_options)
    for layer in first:
        x = layer(x)
    x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    x = layers.ReLU(6.0)(x)
    x = layers.DepthwiseConv2D(3, padding="same")(x)
    for layer in middle:
        x = layer(x)
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(image, layers.Dense(classes, activation=last)(x))
    rng = np.random.default_rng(2)
    for variable in model.variables:
        if variable.path.endswith(("bias", "beta", "moving_mean")):
            variable.assign(0.3 * rng.standard_normal(variable.shape))
        elif variable.path.endswith(("gamma", "moving_variance")):
            variable.assign(rng.uniform(0.5, 2.0, variable.shape))
    return model


def grouped():
    from keras import layers

    return net(middle=[layers.Conv2D(8, 3, groups=4), layers.ReLU()])


def gelu():
    from keras import layers

    return net(middle=[layers.Conv2D(8, 1), layers.Activation("gelu")])


def hard_swish():
    """As it is written with operators, not with Keras's layer: a scalar is added to a convolution."""
    import keras
    from keras import layers, ops

    model = net()
    x = layers.Conv2D(8, 3)(model.layers[-3].output)
    x = x * ops.relu6(x + 3.0) / 6.0
    x = layers.Conv2D(8, 1)(x)
    return keras.Model(model.input, layers.Dense(CLASSES)(layers.GlobalMaxPooling2D()(x)))


def nested():
    from keras import layers

    inner = net(channels=8, size=SIZE // 2)
    return net(middle=[inner, layers.Reshape((1, 1, CLASSES))])


NETS = {"plain": net, "grouped": grouped, "gelu": gelu, "hard_swish": hard_swish, "nested": nested}
