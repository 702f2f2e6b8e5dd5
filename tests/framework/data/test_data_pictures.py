import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

import steelyard
from steelyard.data import HuggingFaceImages, ImageFolder
from steelyard.data._pictures import read_picture
from steelyard.problem import Refused

RED, BLUE = (255, 0, 0), (0, 0, 255)
NOISY = Image.fromarray(np.random.default_rng(0).integers(256, size=(90, 90, 3), dtype=np.uint8))


def flat(colour, size=(10, 8), mode="RGB"):
    return Image.new(mode, size, colour)


def encoded(image, kind="PNG"):
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def folder(place, *, count=6, classes=("red", "blue")):
    """A class of red and one of blue pictures."""
    for name in classes:
        (place / name).mkdir(parents=True)
        for number in range(count):
            flat(RED if name == "red" else BLUE, size=(8 + number, 12)).save(place / name / f"{number}.png")
    return place


def refused(make):
    with pytest.raises(Refused) as caught:
        make().setup("fit")
    return caught.value.problems[0]


def read(source, *, size=4, channels=3):
    return read_picture(source, size=size, channels=channels, where="here")


# What a picture becomes.


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "GIF", "WEBP", "PPM"])
def test_every_kind_of_file_becomes_the_same_bytes(kind):
    for pixels in (read(encoded(flat(RED), kind)), read(flat(RED)), read(np.full((8, 10, 3), RED))):
        assert pixels.dtype == torch.uint8
        assert pixels.shape == (3, 4, 4)
        assert (pixels.float() - torch.tensor(RED)[:, None, None]).abs().max() <= 6


def test_the_largest_square_of_the_middle_is_taken():
    wide = np.zeros((4, 12), dtype=np.uint8)
    wide[:, 4:8] = [[10, 20, 30, 40]]
    assert read(wide, channels=1)[0].tolist() == [[10, 20, 30, 40]] * 4
    assert read(wide.T, channels=1)[0].tolist() == [[number] * 4 for number in (10, 20, 30, 40)]


def test_a_smaller_picture_is_an_average_and_no_sample():
    checks = np.indices((16, 16)).sum(axis=0) % 2 * 200
    inner = read(checks, channels=1)[0, 1:-1, 1:-1]
    assert (inner.float() - 100).abs().max() < 10


def test_kinds_of_pixels():
    assert read(flat(128, mode="L"))[:, 0, 0].tolist() == [128] * 3
    assert read(flat(1, mode="1"), channels=1)[0, 0, 0] == 255
    assert read(flat((0, 0, 0, 0), mode="RGBA"))[:, 0, 0].tolist() == [255] * 3
    deep = Image.fromarray(np.full((6, 6), 257 * 77, dtype=np.uint16))
    assert read(deep, channels=1)[0, 0, 0] == read(encoded(deep), channels=1)[0, 0, 0] == 77
    # Rec. 601, as Pillow has it.
    assert read(flat(RED), channels=1)[0, 0, 0] == round(0.299 * 255)


def test_a_photograph_is_turned_as_its_camera_says():
    top = np.zeros((4, 4, 3), dtype=np.uint8)
    top[:2] = 255
    exif = Image.Exif()
    exif[0x0112] = 3
    buffer = io.BytesIO()
    Image.fromarray(top).save(buffer, "PNG", exif=exif)
    assert read(buffer.getvalue(), channels=1)[0, :, 0].tolist() == [0, 0, 255, 255]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (b"no picture", "cannot identify"),
        (b"", "cannot identify"),
        (encoded(NOISY, "JPEG")[:2000], "truncated"),
        (encoded(NOISY)[:-60], "truncated"),
        ("nowhere.png", "No such file"),
        (3.5, "it is 3.5"),
        (None, "it is None"),
        (["a", "b"], "it is"),
        (np.full((4, 4), 300), "numbers from 300 to 300"),
        (np.full((4, 4), -1), "numbers from -1 to -1"),
        (np.full((4, 4), 0.5), "array of whole numbers"),
        (np.zeros((2, 3, 4, 5), dtype=np.uint8), "array of whole numbers"),
        (flat(0.5, mode="F"), "of the kind F"),
    ],
)
def test_what_is_no_picture_is_refused_with_its_place(source, words):
    with pytest.raises(Refused, match="here cannot be read as a picture") as caught:
        read(source)
    assert words in caught.value.problems[0].message


# A folder for each class.


def test_a_folder_for_each_class(tmp_path):
    folder(tmp_path)
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "red" / "notes.txt").write_text("passed over")
    data = ImageFolder(root=tmp_path, size=6, batch_size=4)
    data.setup("fit")
    assert data.sizes == {"input_shape": (3, 6, 6), "classes": 2, "mean": 0.0, "std": 1.0}
    assert (data.names, data.modality, data.bounds) == (("blue", "red"), "image", (0.0, 1.0))
    inputs, targets = next(iter(data.train_dataloader()))
    colours = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    torch.testing.assert_close(inputs[:, :, 0, 0], colours[targets])
    assert sorted(map(len, (data.splits.train, data.splits.val, data.splits.test))) == [1, 2, 9]


def test_folders_train_and_test(tmp_path):
    for part, count in (("train", 5), ("val", 2), ("test", 3)):
        folder(tmp_path / part, count=count)
    data = ImageFolder(root=tmp_path, channels=1)
    data.setup("fit")
    assert data.corpus.inputs.shape == (20, 1, 32, 32)
    assert data.corpus.tests == len(data.splits.test) == 6
    assert data.corpus.targets[-6:].tolist() == [0, 0, 0, 1, 1, 1]


def test_classes_may_be_called_like_splits(tmp_path):
    folder(tmp_path, classes=("test", "train", "other"))
    data = ImageFolder(root=tmp_path)
    data.setup("fit")
    assert data.names == ("other", "test", "train")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda place: (place / "red" / "3.png").write_bytes(b"spoilt"), "red/3.png cannot be read as a picture"),
        (lambda place: (place / "green").mkdir(), "green has no picture: it is empty"),
        (
            lambda place: ((place / "green").mkdir(), (place / "green" / "1.heic").write_bytes(b"")),
            "green has no picture: 1.heic is none of .png",
        ),
        (lambda place: [(file.unlink()) for file in (place / "red").iterdir()], "red has no picture: it is empty"),
    ],
)
def test_damaged_folders_are_refused_by_name(tmp_path, spoil, words):
    spoil(folder(tmp_path))
    assert words in refused(lambda: ImageFolder(root=tmp_path)).message


def test_folders_without_classes_are_refused(tmp_path):
    assert "data.root is not set" in refused(lambda: ImageFolder()).message
    assert "there is no folder" in refused(lambda: ImageFolder(root=tmp_path / "nowhere")).message
    assert "has no folder of pictures for each class" in refused(lambda: ImageFolder(root=tmp_path)).message
    folder(tmp_path / "one", classes=("red",))
    problem = refused(lambda: ImageFolder(root=tmp_path / "one"))
    assert "all 6 pictures" in problem.message
    assert "class 'red': there is nothing to tell apart" in problem.message
    folder(tmp_path / "two" / "train")
    folder(tmp_path / "two" / "test", classes=("red", "green"))
    assert "green is a class that" in refused(lambda: ImageFolder(root=tmp_path / "two")).message


@pytest.mark.parametrize(("option", "value"), [("size", 0), ("channels", 2)])
def test_options_out_of_range_are_refused(tmp_path, option, value):
    problem = refused(lambda: ImageFolder(root=tmp_path, **{option: value}))
    assert f"data.{option} is {value}" in problem.message


def test_a_folder_is_learned_and_weighed_by_the_names_of_its_classes(tmp_path, workdir):
    folder(tmp_path / "pictures", count=20)
    words = ("data=image_folder", f"data.root={tmp_path / 'pictures'}", "data.size=8", "model=cnn", "model.norm=batch")
    quick = ("trainer.max_epochs=1", "privacy=none", "compute=none", "trainer.enable_progress_bar=false")
    scorecard = steelyard.run(*words, *quick, "interpretability.attribution.samples=2")
    assert scorecard["task.accuracy"].count == 8
    (report,) = workdir.glob("outputs/*/report.html")
    assert "truth red" in report.read_text()


# The library `datasets`.

datasets = pytest.importorskip("datasets")


def table(labels=None, images=None, features=None):
    labels = ["red", "blue"] * 6 if labels is None else labels
    images = [flat(RED if label in ("red", 1) else BLUE) for label in labels] if images is None else images
    return datasets.Dataset.from_dict({"image": images, "label": labels}, features=features)


def stored(place, made):
    made.save_to_disk(str(place))
    return HuggingFaceImages(path=str(place), size=4)


def check(data, names=("blue", "red")):
    data.setup("fit")
    assert data.names == names
    colours = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        for inputs, targets in loader:
            torch.testing.assert_close(inputs[:, :, 1, 1], colours[targets], atol=0.03, rtol=0)


def test_pictures_of_the_library(tmp_path):
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["blue", "red"])})
    both = datasets.DatasetDict(train=table([0, 1] * 6, features=features), test=table([1, 0, 1], features=features))
    data = stored(tmp_path / "named", both)
    check(data)
    assert data.corpus.targets[-3:].tolist() == [1, 0, 1]
    assert len(data.splits.test) == 3
    check(stored(tmp_path / "words", table()))


def test_a_folder_of_pictures_by_the_library(tmp_path):
    check(HuggingFaceImages(path=str(folder(tmp_path / "pictures")), size=4))


def test_paths_and_pixels_in_files(tmp_path):
    folder(tmp_path)
    rows = [(f"{name}/{number}.png", name) for name in ("red", "blue") for number in range(6)]
    (tmp_path / "rows.csv").write_text("image,label\n" + "\n".join(map(",".join, rows)))
    check(HuggingFaceImages(path=str(tmp_path / "rows.csv"), size=4))
    pixels = [
        {"image": [[list(RED if name == "red" else BLUE)] * 5] * 5, "label": name} for name in ("red", "blue")
    ] * 6
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, pixels)))
    check(HuggingFaceImages(path=str(tmp_path / "rows.jsonl"), size=4))


def test_missing_columns_are_refused_with_those_there_are(tmp_path):
    table().save_to_disk(str(tmp_path / "one"))
    for option in ("image_column", "label_column"):
        problem = refused(lambda option=option: HuggingFaceImages(path=str(tmp_path / "one"), **{option: "picture"}))
        assert "has no column 'picture'; it has 'image', 'label'" in problem.message
        assert problem.fix == f"data.{option}=image"


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([0, 1, -1] * 4, "row 3: label is -1, no class"),
        ([0, 1, None] * 4, "row 3: label is None, no class"),
        ([0.5, 1.0, 2.0] * 4, "row 1: label is 0.5, no class"),
        ([True, False] * 6, "row 1: label is True, no class"),
        ([7] * 12, "all 12 pictures"),
    ],
)
def test_labels_that_are_no_classes_are_refused_by_row(tmp_path, labels, words):
    assert words in refused(lambda: stored(tmp_path, table(labels, images=[flat(RED)] * 12))).message


def test_labels_out_of_the_named_range_are_refused_by_row(tmp_path):
    made = table([0, 1, 1, 0] * 3)
    # The library itself would not write a number that has no name.
    named = datasets.Features({"image": made.features["image"], "label": datasets.ClassLabel(names=["blue", "red"])})
    data = made.cast(named)
    data.info.features["label"] = datasets.ClassLabel(names=["blue"])
    problem = refused(lambda: stored(tmp_path, data))
    assert "row 2: label is 1, no class among the 1 of the data set" in problem.message


def test_a_damaged_picture_is_refused_by_its_row_and_file(tmp_path):
    folder(tmp_path / "pictures")
    (tmp_path / "pictures" / "red" / "3.png").write_bytes(b"spoilt")
    problem = refused(lambda: HuggingFaceImages(path=str(tmp_path / "pictures")))
    assert "(train), row 10, " in problem.message
    assert "red/3.png cannot be read as a picture" in problem.message
    kind = datasets.Features({"image": datasets.Image(), "label": datasets.Value("string")})
    images = [{"bytes": encoded(flat(RED)), "path": None}] * 11 + [{"bytes": b"spoilt", "path": None}]
    problem = refused(lambda: stored(tmp_path / "stored", table(images=images, features=kind)))
    assert "(train), row 12 cannot be read as a picture" in problem.message


def test_a_column_without_pictures_is_refused(tmp_path):
    numbers = refused(lambda: stored(tmp_path / "numbers", table(images=[0.5] * 12)))
    assert "row 1 cannot be read as a picture: it is 0.5" in numbers.message
    words = refused(lambda: stored(tmp_path / "words", table(images=["a cat"] * 12)))
    assert "cannot be read as a picture: " in words.message


def test_nothing_to_read_is_refused(tmp_path):
    assert "data.path is not set" in refused(lambda: HuggingFaceImages()).message
    table().select([]).to_parquet(str(tmp_path / "none.parquet"))
    assert "corresponds to no data" in refused(lambda: HuggingFaceImages(path=str(tmp_path / "none.parquet"))).message
    (tmp_path / "empty.csv").write_text("")
    assert "the file is empty" in refused(lambda: HuggingFaceImages(path=str(tmp_path / "empty.csv"))).message
