"""A Keras model behaves as a module of PyTorch, and learns as Keras itself would have it learn."""

import copy
import subprocess
import sys
import types
from functools import partial
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from pytorch_lightning import LightningModule
from torch import nn
from torch.nn.functional import cross_entropy

if find_spec("keras") is None:
    pytest.skip("needs the extra keras", allow_module_level=True)

from steelyard.models import MLP, KerasModel
from steelyard.models import _keras as loading
from steelyard.optimisation import Compiled
from steelyard.problem import Refused
from steelyard.tasks import Classification

pytestmark = [
    pytest.mark.filterwarnings("ignore:Do not pass an `input_shape`:UserWarning"),
    # Keras 3.15 and NumPy 2.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]
EXAMPLE = Path(__file__).parents[3] / "examples" / "keras_source.py"
HEAD = "import keras\nfrom keras import layers as L, losses, optimizers\n"


def written(folder, body, name="net"):
    """A file with Keras code; `model.build` for it."""
    path = folder / f"{name}.py"
    path.write_text(HEAD + body)
    return str(path)


def made(build=None, *, shape=(1, 4, 4), classes=3, seed=0, **options):
    torch.manual_seed(seed)
    return KerasModel(input_shape=shape, classes=classes, build=build, **options)


def data(count=40, shape=(1, 4, 4), classes=3):
    generator = torch.Generator().manual_seed(1)
    return torch.rand(count, *shape, generator=generator), torch.randint(classes, (count,), generator=generator)


def test_the_weights_are_parameters_and_the_rest_is_buffers(tmp_path):
    body = (
        "def model(classes): return keras.Sequential([L.Input((16,)), L.Dense(8), L.BatchNormalization(), "
        "L.Dropout(0.5, seed=3), L.Dense(classes, activation='softmax')])"
    )
    module = made(written(tmp_path, body) + ":model")
    names = ["kernel_0", "bias_1", "gamma_2", "beta_3", "kernel_4", "bias_5"]
    assert [name for name, _ in module.named_parameters()] == names
    assert all(weight.requires_grad for weight in module.parameters())
    own = ["moving_mean_0", "moving_variance_1", "seed_generator_state_2"]
    assert [name for name, _ in module.named_buffers()] == [*own, "normalise.mean", "normalise.std"]
    # Another model of the same process has the same names.
    assert list(made(written(tmp_path, body) + ":model").state_dict()) == list(module.state_dict())


def test_dropout_and_batch_norm_follow_train_and_eval(tmp_path):
    body = (
        "model = keras.Sequential([L.Input((16,)), L.BatchNormalization(), L.Dropout(0.5, seed=3), "
        "L.Dense(3, activation='softmax')])"
    )
    module, (inputs, _) = made(written(tmp_path, body)), data()
    state = {name: buffer.clone() for name, buffer in module.named_buffers()}
    module.eval()
    assert torch.equal(module(inputs), module(inputs))
    assert all(torch.equal(state[name], buffer) for name, buffer in module.named_buffers())
    module.train()
    assert not torch.equal(module(inputs), module(inputs))
    moved = [name for name, buffer in module.named_buffers() if not torch.equal(state[name], buffer)]
    assert {name.rpartition("_")[0] for name in moved} == {"seed_generator_state", "moving_mean", "moving_variance"}


def test_a_copy_has_weights_of_its_own_and_the_same_outputs():
    module, (inputs, _) = made(), data()
    twin = copy.deepcopy(module)
    assert torch.equal(twin(inputs), module(inputs))
    with torch.no_grad():
        twin.kernel_0.zero_()
    assert not torch.equal(twin(inputs), module(inputs))


def test_the_seed_of_the_run_decides_the_weights():
    assert torch.equal(made(seed=1).kernel_0, made(seed=1).kernel_0)
    assert not torch.equal(made(seed=1).kernel_0, made(seed=2).kernel_0)


def test_a_model_that_stands_in_a_module_begins_anew_in_every_run(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLE.parent)
    one, same, other = (made("keras_source.model", shape=(1, 28, 28), classes=10, seed=seed) for seed in (0, 0, 1))
    with torch.no_grad():
        one.kernel_0.add_(1)
    again = made("keras_source.model", shape=(1, 28, 28), classes=10, seed=0)
    assert torch.equal(same.kernel_0, again.kernel_0)
    assert not torch.equal(same.kernel_0, other.kernel_0)


def test_cross_entropy_of_the_logits_is_keras_own_loss():
    keras = loading.library()
    module, (inputs, targets) = made(), data()
    probabilities = module.keras_model()(inputs.flatten(1))
    theirs = keras.losses.SparseCategoricalCrossentropy()(targets, probabilities)
    ours = cross_entropy(module(inputs), targets)
    assert float(ours.detach()) == pytest.approx(float(theirs.detach()), abs=1e-6)


def test_certainty_stays_finite():
    module, (inputs, targets) = made(), data()
    with torch.no_grad():
        module.kernel_2.mul_(1e4)
    loss = cross_entropy(module(inputs), targets)
    assert torch.isfinite(loss)
    assert all(torch.isfinite(grad).all() for grad in torch.autograd.grad(loss, list(module.parameters())))


def perceptron_like(module):
    """The preset `model=mlp` with the same weights; Keras's kernels are transposed."""
    mlp = MLP(input_shape=(1, 4, 4), classes=3)
    one, two = (layer for layer in mlp.layers if isinstance(layer, nn.Linear))
    with torch.no_grad():
        for mine, theirs in zip(
            (one.weight, one.bias, two.weight, two.bias),
            (module.kernel_0.T, module.bias_1, module.kernel_2.T, module.bias_3),
            strict=True,
        ):
            mine.copy_(theirs)
    return mlp


def test_the_preset_mlp_takes_the_same_steps_from_the_same_weights():
    module = made()
    mlp = perceptron_like(module)
    adam = partial(torch.optim.Adam, lr=1e-3)
    ours, theirs = (Classification(model=model, optimizer=adam, classes=3) for model in (mlp, module))
    steps = [task.configure_optimizers() for task in (ours, theirs)]
    batch = data()
    for _ in range(5):
        losses = [task.training_step(batch, 0) for task in (ours, theirs)]
        for loss, optimizer in zip(losses, steps, strict=True):
            optimizer.zero_grad()
            loss.backward()
        assert float(losses[0].detach()) == pytest.approx(float(losses[1].detach()), abs=1e-6)
        one, two = (layer for layer in mlp.layers if isinstance(layer, nn.Linear))
        for mine, its in ((one.weight, module.kernel_0), (two.weight, module.kernel_2)):
            assert torch.allclose(mine.grad, its.grad.T, atol=1e-6)
        for optimizer in steps:
            optimizer.step()


@pytest.mark.parametrize(
    "optimizer",
    [
        "'adam'",
        "optimizers.Adam(0.01, beta_1=0.8, amsgrad=True, epsilon=1e-4)",
        "optimizers.AdamW(0.01)",
        "'sgd'",
        "optimizers.SGD(0.05, momentum=0.9)",
        "optimizers.SGD(0.05, momentum=0.9, nesterov=True)",
    ],
)
def test_the_compiled_optimizer_takes_the_steps_of_keras_fit(tmp_path, optimizer):
    body = (
        "model = keras.Sequential([L.Input((16,)), L.Dense(8, activation='relu'), L.Dense(3, activation='softmax')])\n"
        f"model.compile(optimizer={optimizer}, loss='sparse_categorical_crossentropy')"
    )
    build = written(tmp_path, body)
    module, oracle = made(build), made(build)
    theirs = oracle.keras_model()
    start = [weight.clone() for weight in module.parameters()]
    inputs, targets = data()
    # Small gradients, where the place of epsilon shows.
    inputs = inputs * 1e-3
    task = Classification(model=module, optimizer=Compiled(), classes=3)
    stepping = task.configure_optimizers()
    for _ in range(8):
        theirs.train_on_batch(inputs.flatten(1).numpy(), targets.numpy())
        stepping.zero_grad()
        task.training_step((inputs, targets), 0).backward()
        stepping.step()
    for before, mine, its in zip(start, module.parameters(), theirs.trainable_variables, strict=True):
        assert not torch.equal(before, mine)
        assert np.allclose(mine.detach().numpy(), its.numpy(), atol=1e-6)


def test_a_stored_model_keeps_its_weights(tmp_path):
    module, (inputs, _) = made(), data()
    module.keras_model().save(tmp_path / "net.keras")
    assert torch.allclose(made(str(tmp_path / "net.keras"), seed=5)(inputs), module(inputs), atol=1e-6)


def test_pictures_go_to_convolutions_with_their_channels_last(tmp_path):
    body = (
        "def model(input_shape, classes):\n"
        "  c, h, w = input_shape\n"
        "  return keras.Sequential([L.Input((h, w, c)), L.Conv2D(2, 3), L.Flatten(), L.Dense(classes)])"
    )
    module = made(written(tmp_path, body), shape=(2, 5, 6))
    inputs, _ = data(shape=(2, 5, 6))
    expected = module.keras_model()(inputs.movedim(1, -1))
    assert torch.allclose(module(inputs), expected, atol=1e-6)


def test_a_model_by_subclassing_is_built_by_the_shape_of_the_data(tmp_path):
    body = (
        "class Net(keras.Model):\n"
        "  def __init__(self):\n"
        "    super().__init__()\n"
        "    self.last = L.Dense(3)\n"
        "  def call(self, x, training=False):\n"
        "    return self.last(x)\n"
        "def model(): return Net()"
    )
    module = made(written(tmp_path, body), shape=(7,))
    assert [tuple(weight.shape) for weight in module.parameters()] == [(7, 3), (3,)]
    assert module(torch.rand(5, 7)).shape == (5, 3)


SOFT = "model = keras.Sequential([L.Input((16,)), L.Dense(3, activation='softmax')])\n"


@pytest.mark.parametrize(
    ("body", "message", "fix"),
    [
        ("model = 3", "no keras.Model", "model.build"),
        ("model = keras.Sequential([L.Input((16,)), L.Dense(4)])", "has 3 classes", "one unit for each class"),
        ("model = keras.Sequential([L.Input((9,)), L.Dense(3)])", "takes inputs of shape", "input_shape and classes"),
        ("model = keras.Sequential([L.Input((16,)), L.Dense(3, activation='sigmoid')])", "sigmoid", "model.outputs"),
        (SOFT + "model.compile(loss='mse')", "mse|mean_squared_error", "task=custom"),
        (
            SOFT + "model.compile(loss=losses.CategoricalCrossentropy(label_smoothing=0.1))",
            "label smoothing",
            "task.label_smoothing=0.1",
        ),
        (
            "model = keras.Sequential([L.Input((16,)), L.Dense(3, kernel_regularizer='l2')])",
            "losses of its own",
            "weight_decay",
        ),
        (
            "model = keras.Sequential([L.Input((16,)), L.Dense(3, activity_regularizer='l2')])",
            "losses of its own",
            "weight_decay",
        ),
        (
            "model = keras.Sequential([L.Input((16,)), L.Dense(3, bias_initializer='ones')])\n"
            "model.compile(loss='sparse_categorical_crossentropy')",
            "do not add up to 1",
            "model.outputs=logits",
        ),
        ("model.fit(x_train, y_train)", "NameError", "model.build"),
        ("net = 1", "defines no model", "net.py:NAME"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, body, message, fix):
    with pytest.raises(Refused, match=message) as caught:
        made(written(tmp_path, body))
    assert fix in caught.value.problems[0].fix


@pytest.mark.parametrize(
    ("build", "message"),
    [
        ("nowhere.py", "there is no file"),
        ("nowhere.keras", "there is no file"),
        ("old.h5", "old format"),
        ("word", "neither a file nor"),
        ("no_such_module.model", "ModuleNotFoundError"),
    ],
)
def test_what_is_not_there_is_refused(build, message):
    with pytest.raises(Refused, match=message):
        made(build)


@pytest.mark.parametrize(
    ("optimizer", "fix"),
    [
        ("'rmsprop'", "optimizer=adam"),
        ("optimizers.Adam(clipnorm=1.0)", "gradient_clip_val"),
        ("optimizers.Adam(use_ema=True)", "trainer=ema"),
        ("optimizers.Adam(optimizers.schedules.ExponentialDecay(0.1, 10, 0.9))", "scheduler=cosine"),
        ("optimizers.SGD(weight_decay=0.1)", "optimizer=sgd"),
    ],
)
def test_an_optimizer_that_is_not_translated_is_refused(tmp_path, optimizer, fix):
    module = made(written(tmp_path, SOFT + f"model.compile({optimizer}, loss='sparse_categorical_crossentropy')"))
    with pytest.raises(Refused) as caught:
        Classification(model=module, optimizer=Compiled(), classes=3).configure_optimizers()
    assert fix in caught.value.problems[0].fix


def test_a_model_without_an_optimizer_says_so(tmp_path):
    module = made(written(tmp_path, SOFT))
    mlp = MLP(input_shape=(1, 4, 4), classes=3)
    for model, words in ((module, "not compiled"), (mlp, "brings none")):
        with pytest.raises(Refused, match=words):
            Classification(model=model, optimizer=Compiled(), classes=3).configure_optimizers()


def test_a_backend_that_somebody_else_chose_is_refused(monkeypatch):
    jax = types.ModuleType("keras")
    jax.__spec__ = ModuleSpec("keras", None)
    jax.backend = types.SimpleNamespace(backend=lambda: "jax")
    monkeypatch.setitem(sys.modules, "keras", jax)
    with pytest.raises(Refused, match="Keras runs on jax") as caught:
        loading.library()
    assert caught.value.problems[0].fix == "export KERAS_BACKEND=torch"
    monkeypatch.delitem(sys.modules, "keras")
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    with pytest.raises(Refused, match="Keras runs on tensorflow"):
        loading.library()


@pytest.mark.slow
def test_nothing_of_keras_is_imported_before_it_is_chosen():
    program = "import steelyard.models, sys; print('keras' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "False"


def test_the_example_holds_the_snippet_unchanged():
    snippet = """\
model = tf.keras.Sequential([
    tf.keras.layers.Dense(128, activation='relu', input_shape=(784,)),
    tf.keras.layers.Dense(10, activation='softmax')
])

model.compile(optimizer='adam',
              loss='sparse_categorical_crossentropy',
              metrics=['accuracy'])
"""
    assert snippet.replace("tf.keras", "keras") in EXAMPLE.read_text()


def test_it_is_a_part_of_any_lightning_module():
    class Own(LightningModule):
        def __init__(self):
            super().__init__()
            self.net = made()

    own = Own()
    assert len(list(own.parameters())) == 4
    own.load_state_dict(copy.deepcopy(own).state_dict())


def test_a_plan_allocates_no_weights():
    with torch.device("meta"):
        module = made()
        assert module(torch.rand(2, 1, 4, 4)).is_meta
    assert {tensor.device.type for tensor in module.state_dict().values()} == {"meta"}
