import json

import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d

from steelyard.models import ResNet, VideoMAE
from steelyard.models.flip import Flip
from steelyard.problem import Refused

IMAGES = {"input_shape": (1, 12, 12), "classes": 5, "widths": (8, 16), "depths": (1, 1)}
VIDEOS = {
    "input_shape": (4, 1, 8, 8),
    "classes": 5,
    "patch": 4,
    "tubelet": 2,
    "width": 16,
    "layers": 1,
    "heads": 2,
}


def count(model):
    return sum(weight.numel() for weight in model.parameters())


def kinds(model, kind):
    return [module for module in model.modules() if isinstance(module, kind)]


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 17, 9), (1, 8, 8)])
@pytest.mark.parametrize("norm", ["batch", "group"])
def test_the_resnet_has_the_parameters_of_the_formula(shape, norm):
    model = ResNet(input_shape=shape, classes=10, norm=norm)

    def block(a, b, change):
        return 9 * a * b + 9 * b * b + 4 * b + (a * b + 2 * b if change else 0)

    stem = 9 * shape[0] * 16 + 2 * 16
    # transformers gives the first stage a shortcut only where it changes something.
    by_hand = stem + block(16, 16, False) + block(16, 32, True) + block(32, 64, True) + 64 * 10 + 10
    assert count(model) == by_hand
    assert model.eval()(torch.rand(2, *shape)).shape == (2, 10)


def test_the_resnet_is_the_formula():
    """One stage of one block, by hand."""
    model = ResNet(input_shape=(1, 6, 6), classes=3, widths=(4,), depths=(1,), mean=0.3, std=0.5).eval()
    convolutions, norms = kinds(model, nn.Conv2d), kinds(model, nn.BatchNorm2d)
    for norm in norms:
        norm.running_mean.uniform_(-1, 1)
        norm.running_var.uniform_(0.5, 2)

    def step(number, values):
        norm = norms[number]
        return norm(conv2d(values, convolutions[number].weight, padding=1))

    inputs = torch.rand(2, 1, 6, 6)
    stem = step(0, (inputs - 0.3) / 0.5).relu()
    last = (step(2, step(1, stem).relu()) + stem).relu().mean(dim=(2, 3))
    head = model.head[-1]
    torch.testing.assert_close(model(inputs), last @ head.weight.T + head.bias)


def test_the_stem_follows_the_size_of_the_image():
    def first(side, stem="auto"):
        return kinds(ResNet(input_shape=(3, side, side), classes=2, stem=stem), nn.Conv2d)[0].kernel_size

    assert [first(95), first(96), first(95, "large"), first(96, "small")] == [(3, 3), (7, 7), (7, 7), (3, 3)]


def test_a_bottleneck_has_three_convolutions():
    model = ResNet(**{**IMAGES, "bottleneck": True})
    plain = ResNet(**IMAGES)
    assert len(kinds(model, nn.Conv2d)) > len(kinds(plain, nn.Conv2d))
    assert model.eval()(torch.rand(2, 1, 12, 12)).shape == (2, 5)


@pytest.mark.parametrize(("norm", "mixes"), [("group", False), ("batch", True)])
def test_only_batch_norm_mixes_the_examples(norm, mixes):
    model = ResNet(**IMAGES, norm=norm).train()
    inputs = torch.rand(5, 1, 12, 12)
    assert torch.allclose(model(inputs)[:2], model(inputs[:2]), atol=1e-5) is not mixes
    assert bool(kinds(model, nn.BatchNorm2d)) is mixes


def test_videos_of_a_batch_do_not_mix():
    model = VideoMAE(**VIDEOS).train()
    inputs = torch.rand(5, 4, 1, 8, 8)
    torch.testing.assert_close(model(inputs)[:2], model(inputs[:2]), atol=1e-5, rtol=1e-4)


def test_videomae_sees_the_order_of_the_frames():
    model = VideoMAE(**VIDEOS).eval()
    inputs = torch.rand(2, 4, 1, 8, 8)
    assert model(inputs).shape == (2, 5)
    assert not torch.allclose(model(inputs), model(inputs.flip(1)), atol=1e-4)


def test_videomae_has_the_parameters_of_the_formula():
    width, layers, classes = 16, 3, 5
    model = VideoMAE(**{**VIDEOS, "layers": layers})
    pieces = 2 * 4 * 4 * width + width
    block = 4 * width * width + 3 * width + 2 * 4 * width * width + 4 * width + width + 4 * width
    assert count(model) == pieces + layers * block + 2 * width + width * classes + classes


@pytest.mark.parametrize("model", [ResNet(**IMAGES), VideoMAE(**VIDEOS)])
def test_normalisation_is_inside(model):
    state = {name for name in model.state_dict() if name.startswith("normalise")}
    assert state == {"normalise.mean", "normalise.std"}


@pytest.mark.parametrize(
    ("make", "words", "fix"),
    [
        (lambda: ResNet(**{**IMAGES, "input_shape": (64,)}), "needs images", "model=mlp"),
        (lambda: ResNet(**{**IMAGES, "depths": (1,)}), "the same stages", "model.widths=[16,32,64]"),
        (lambda: ResNet(**{**IMAGES, "widths": (), "depths": ()}), "the same stages", "model.widths=[16,32,64]"),
        (lambda: ResNet(**IMAGES, norm="layer"), "must be one of batch, group", "model.norm=batch"),
        (lambda: ResNet(**IMAGES, stem="tiny"), "must be one of auto, small, large", "model.stem=auto"),
        (lambda: ResNet(**IMAGES, flip=1.5), "model.flip is 1.5", "model.flip=0.5"),
        (lambda: ResNet(**IMAGES, dropout=1.0), "model.dropout is 1", "model.dropout=0.1"),
        (lambda: VideoMAE(**{**VIDEOS, "input_shape": (1, 8, 8)}), "needs videos", "model=mlp"),
        (lambda: VideoMAE(**{**VIDEOS, "patch": 3}), "cannot be cut", "model.patch=4"),
        (lambda: VideoMAE(**{**VIDEOS, "tubelet": 3}), "cannot be cut", "model.patch=4"),
        (lambda: VideoMAE(**{**VIDEOS, "heads": 3}), "does not divide", "model.heads=4"),
    ],
)
def test_options_that_do_not_fit_are_refused(make, words, fix):
    with pytest.raises(Refused, match=words) as caught:
        make()
    assert caught.value.problems[0].fix.startswith(fix)


def test_flip_turns_about_half_of_the_images_and_only_in_training():
    torch.manual_seed(0)
    flip, inputs = Flip(0.5), torch.rand(400, 1, 2, 3)
    turned = flip.train()(inputs)
    mirrored = (turned == inputs.flip(-1)).flatten(1).all(dim=1)
    same = (turned == inputs).flatten(1).all(dim=1)
    assert bool((mirrored ^ same).all())
    assert 160 < int(mirrored.sum()) < 240
    assert flip.eval()(inputs) is inputs
    assert Flip(0.0).train()(inputs) is inputs
    assert torch.equal(Flip(1.0).train()(inputs), inputs.flip(-1))


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Folders as transformers writes them."""
    folder = tmp_path_factory.mktemp("stored")
    images, videos = ResNet(**{**IMAGES, "stem": "large"}), VideoMAE(**VIDEOS)
    whole = ResNetWhole(images)
    whole.save(folder / "resnet")
    videos.network.save_pretrained(folder / "videomae")
    return folder


class ResNetWhole:
    """The network of transformers that a ResNet of ours took its body from."""

    def __init__(self, model):
        from transformers import ResNetForImageClassification

        self.network = ResNetForImageClassification(model.body.config)
        self.network.resnet.load_state_dict(model.body.state_dict())
        for norm in kinds(self.network, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight)

    def save(self, folder):
        self.network.save_pretrained(folder)


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_a_resnet_takes_stored_weights_and_a_new_head(stored, norm):
    from safetensors.torch import load_file

    weights = load_file(stored / "resnet" / "model.safetensors")
    model = ResNet(
        input_shape=(1, 12, 12), classes=7, widths=(16, 32, 64), norm=norm, pretrained=str(stored / "resnet")
    )
    assert model(torch.rand(2, 1, 12, 12)).shape == (2, 7)
    first = "embedder.embedder."
    body = model.body.state_dict()
    assert torch.equal(body[f"{first}convolution.weight"], weights[f"resnet.{first}convolution.weight"])
    assert torch.equal(body[f"{first}normalization.weight"], weights[f"resnet.{first}normalization.weight"])


def test_videomae_takes_stored_weights_and_a_new_head(stored):
    from safetensors.torch import load_file

    weights = load_file(stored / "videomae" / "model.safetensors")
    model = VideoMAE(**{**VIDEOS, "classes": 3}, dropout=0.2, pretrained=str(stored / "videomae"))
    assert model(torch.rand(2, 4, 1, 8, 8)).shape == (2, 3)
    name = "videomae.encoder.layer.0.output.dense.weight"
    assert torch.equal(model.network.state_dict()[name], weights[name])
    assert {layer.p for layer in kinds(model, nn.Dropout)} == {0.2}


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_nothing_is_downloaded_or_allocated_to_plan(stored, device):
    with torch.device(device):
        model = ResNet(input_shape=(1, 12, 12), classes=7, pretrained=str(stored / "resnet"), norm="group")
        other = VideoMAE(**VIDEOS, pretrained=str(stored / "videomae"))
    assert {weight.device.type for each in (model, other) for weight in each.parameters()} == {device}


def changed(folder, to, **config):
    """A copy of a stored model with another config."""
    to.mkdir()
    for path in folder.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    known = json.loads((to / "config.json").read_text())
    (to / "config.json").write_text(json.dumps({**known, **config}))
    return str(to)


def refused(make):
    with pytest.raises(Refused) as caught:
        make()
    return caught.value.problems[0]


def resnet(place, shape=(1, 12, 12)):
    return lambda: ResNet(input_shape=shape, classes=5, pretrained=str(place))


def videomae(place, shape=(4, 1, 8, 8)):
    return lambda: VideoMAE(input_shape=shape, classes=5, pretrained=str(place))


def test_weights_of_another_shape_are_refused_by_name(stored, tmp_path):
    problem = refused(resnet(changed(stored / "resnet", tmp_path / "wide", hidden_sizes=[8, 24])))
    assert "is of another shape: resnet.encoder.stages.1" in problem.message
    assert "(16" in problem.message
    assert "(24" in problem.message
    assert problem.fix == "model.pretrained=FOLDER"


def test_weights_that_lack_a_layer_are_refused(stored, tmp_path):
    problem = refused(resnet(changed(stored / "resnet", tmp_path / "deep", depths=[1, 2])))
    assert "lacks" in problem.message
    assert "resnet.encoder.stages.1.layers.1" in problem.message


def test_a_model_of_another_kind_is_refused(stored):
    assert "cannot be loaded: Unrecognized configuration" in refused(resnet(stored / "videomae")).message
    from transformers import ViTConfig, ViTForImageClassification

    small = ViTConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, image_size=12, patch_size=6
    )
    ViTForImageClassification(small).save_pretrained(stored / "vit")
    assert "is of the kind vit, not resnet" in refused(resnet(stored / "vit")).message


def test_pictures_of_another_kind_are_refused(stored):
    problem = refused(resnet(stored / "resnet", shape=(3, 12, 12)))
    assert "takes pictures of 1 channels, the data has 3" in problem.message
    assert problem.fix == "data.channels=1"
    assert "takes 4 frames of 8x8 pixels" in refused(videomae(stored / "videomae", shape=(8, 1, 8, 8))).message


def test_a_pickle_is_never_opened(stored, tmp_path):
    folder = tmp_path / "pickled"
    place = changed(stored / "resnet", folder)
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch opened'\ntR.")
    problem = refused(resnet(place))
    assert "pytorch_model.bin is a pickle, which can run any code" in problem.message
    # Beside safetensors it is not looked at.
    (folder / "model.safetensors").write_bytes((stored / "resnet" / "model.safetensors").read_bytes())
    assert resnet(place)().eval()(torch.rand(1, 1, 12, 12)).isfinite().all()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "model.safetensors").write_bytes(b"no weights"), "cannot be loaded"),
        (lambda folder: (folder / "config.json").write_text("{"), "cannot be loaded"),
        (lambda folder: (folder / "config.json").unlink(), "cannot be loaded"),
        (lambda folder: (folder / "model.safetensors").unlink(), "has no *.safetensors"),
    ],
)
def test_a_damaged_folder_is_refused(stored, tmp_path, damage, words):
    place = changed(stored / "resnet", tmp_path / "damaged")
    damage(tmp_path / "damaged")
    assert words in refused(resnet(place)).message


def test_a_place_that_is_not_there_and_a_file_are_refused(stored, tmp_path):
    assert "there is no model.pretrained=" in refused(resnet(tmp_path / "nowhere")).message
    assert "is a file" in refused(resnet(stored / "resnet" / "model.safetensors")).message


@pytest.mark.parametrize(("widths", "last"), [((8, 16), True), ((4, 8), False)])
def test_channels_lie_last_only_where_the_processor_s_library_stays_in_its_buffers(widths, last):
    model = ResNet(**{**IMAGES, "widths": widths})
    (weight,) = (one.weight for one in kinds(model, nn.Conv2d) if one.stride == (2, 2) and one.kernel_size == (3, 3))
    assert weight.is_contiguous(memory_format=torch.channels_last) is last
