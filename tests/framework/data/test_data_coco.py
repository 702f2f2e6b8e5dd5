import json

import pytest
import torch
from PIL import Image
from pytorch_lightning import Trainer

from steelyard.adapters import IGNORED
from steelyard.data import Coco
from steelyard.models import RTDETR
from steelyard.problem import Refused
from steelyard.tasks import Detection

WIDE, HIGH = 40, 20


def annotations(count=10):
    """Each picture has a red square of 8 pixels, at another place, and every other one a second object."""
    content = {
        "images": [{"id": 100 + number, "file_name": f"{number}.png"} for number in range(count)],
        "categories": [{"id": 7, "name": "square"}, {"id": 3, "name": "thing"}],
        "annotations": [],
    }
    for number in range(count):
        content["annotations"].append({"image_id": 100 + number, "category_id": 7, "bbox": [2 * number, 4, 8, 8]})
        if number % 2:
            content["annotations"].append({"image_id": 100 + number, "category_id": 3, "bbox": [0, 0, WIDE, HIGH]})
    return content


def write(folder, content, *, pictures=10):
    (folder / "images").mkdir(exist_ok=True)
    for number in range(pictures):
        picture = Image.new("RGB", (WIDE, HIGH), (0, 0, 50))
        picture.paste((255, 0, 0), (2 * number, 4, 2 * number + 8, 12))
        picture.save(folder / "images" / f"{number}.png")
    (folder / "annotations.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def coco(folder, **options):
    return Coco(root=folder, **{"val_fraction": 0.2, "test_fraction": 0.2, "size": 16, "batch_size": 4, **options})


def test_pictures_and_boxes_are_read(tmp_path):
    data = coco(write(tmp_path, annotations()))
    corpus = data.corpus
    assert corpus.inputs.shape == (10, 3, 16, 16)
    assert corpus.inputs.dtype == torch.uint8
    assert corpus.targets.shape == (10, 2, 5)
    assert data.names == ("square", "thing")
    assert corpus.targets[3].tolist() == [pytest.approx([0, 10 / 40, 8 / 20, 8 / 40, 8 / 20]), [1, 0.5, 0.5, 1, 1]]
    assert corpus.targets[4, 1].tolist() == [IGNORED] * 5
    # Red within the box, dark blue without.
    red = corpus.inputs[5, 0].float() / 255
    assert red[6, 5] > 0.9
    assert red[14, 14] == 0
    assert data.sizes["input_shape"] == (3, 16, 16)
    pictures, targets = next(iter(data.train_dataloader()))
    assert pictures.shape == (4, 3, 16, 16)
    assert targets.shape == (4, 2, 5)


def test_other_places_in_the_folder(tmp_path):
    write(tmp_path, annotations())
    (tmp_path / "annotations.json").rename(tmp_path / "marks.json")
    (tmp_path / "images").rename(tmp_path / "pixels")
    assert len(coco(tmp_path, annotations="marks.json", images="pixels").corpus.targets) == 10


def test_crowds_are_left_out_and_pictures_without_objects_stay(tmp_path):
    content = annotations()
    content["annotations"][0]["iscrowd"] = 1
    corpus = coco(write(tmp_path, content)).corpus
    assert (corpus.targets[0] == IGNORED).all()
    assert len(corpus.inputs) == 10


def test_a_box_that_leaves_the_picture_by_a_pixel_is_cut_there(tmp_path):
    content = annotations()
    content["annotations"][0]["bbox"] = [-0.5, 0, WIDE + 1, HIGH]
    assert coco(write(tmp_path, content)).corpus.targets[0, 0].tolist() == [0, 0.5, 0.5, 1, 1]


def test_a_picture_with_another_mode_becomes_red_green_and_blue(tmp_path):
    write(tmp_path, annotations())
    Image.new("L", (WIDE, HIGH), 77).save(tmp_path / "images" / "0.png")
    assert (coco(tmp_path).corpus.inputs[0] == 77).all()


def test_a_turned_photograph_is_read_as_people_see_it(tmp_path):
    write(tmp_path, annotations())
    picture = Image.new("RGB", (HIGH, WIDE), (0, 0, 0))
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "images" / "0.png", exif=exif)
    # 20 pixels wide in the file and 40 as it is seen: the box at 0 to 40 fits.
    content = annotations()
    content["annotations"][0]["bbox"] = [0, 0, WIDE, HIGH]
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    assert coco(tmp_path).corpus.targets[0, 0].tolist() == [0, 0.5, 0.5, 1, 1]


def changed(**rows):
    """The annotations with one row of a part changed: annotations=(row, {key: value})."""
    content = annotations()
    for part, (row, change) in rows.items():
        content[part][row].update(change)
    return content


def without(part, row, key):
    content = annotations()
    del content[part][row][key]
    return content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"annotations\.json is no JSON"),
        ([], r"annotations\.json must hold the lists images, annotations, categories"),
        ({"images": []}, r"must hold the lists"),
        ({"images": [], "annotations": [], "categories": []}, r"has 0 images and 0 categories"),
        ({**annotations(), "annotations": []}, r"marks no object in any of its 10 images"),
        (without("images", 2, "file_name"), r"annotations\.json, image 3 has no file_name"),
        (without("categories", 1, "name"), r"category 2 has no name"),
        (without("annotations", 3, "bbox"), r"annotation 4 has no bbox"),
        (without("annotations", 3, "image_id"), r"annotation 4 has no image_id"),
        (changed(images=(3, {"id": 100})), r"image 4 has the id 100 of an earlier one"),
        (changed(images=(3, {"id": [1]})), r"image 4: id is \[1\], must be a number or a word"),
        (changed(annotations=(2, {"image_id": 5})), r"annotation 3 belongs to the image 5, which is not in the file"),
        (changed(annotations=(2, {"category_id": 5})), r"annotation 3 is of the class 5, .* categories \[7, 3\]"),
        (changed(annotations=(2, {"bbox": [1, 2, 3]})), r"annotation 3: bbox is \[1, 2, 3\], must be \[left, top"),
        (changed(annotations=(2, {"bbox": [1, 2, "3", 4]})), r"annotation 3: bbox is"),
        (changed(annotations=(2, {"bbox": [1, 2, 0, 4]})), r"annotation 3: bbox is \[1, 2, 0, 4\], which has no area"),
        (changed(annotations=(2, {"bbox": [1, 2, float("nan"), 4]})), r"annotation 3: bbox .* has no area"),
        (
            changed(annotations=(2, {"bbox": [30, 2, 12, 4]})),
            r"the box from \(30, 2\) to \(42, 6\) reaches outside the picture 1\.png, which has 40x20",
        ),
        (changed(annotations=(2, {"bbox": [-2, 2, 8, 4]})), r"annotation 3: the box from \(-2, 2\)"),
    ],
)
def test_bad_annotations_are_refused_with_file_and_row(tmp_path, content, message):
    with pytest.raises(Refused, match=message) as caught:
        _ = coco(write(tmp_path, content)).corpus
    assert caught.value.problems[0].fix == "data.annotations=FILE.json"


@pytest.mark.parametrize("content", [b"", b"no picture", None])
def test_a_bad_picture_is_refused_with_file_and_row(tmp_path, content):
    write(tmp_path, annotations())
    path = tmp_path / "images" / "3.png"
    path.write_bytes(path.read_bytes()[:60] if content is None else content)
    with pytest.raises(Refused, match=r"annotations\.json, image 4: .*3\.png cannot be read as a picture"):
        _ = coco(tmp_path).corpus


def test_a_missing_picture_is_refused_with_file_and_row(tmp_path):
    write(tmp_path, annotations(), pictures=3)
    with pytest.raises(Refused, match=r"annotations\.json, image 4 is the file .*3\.png, which is not there"):
        _ = coco(tmp_path).corpus


@pytest.mark.parametrize(
    ("options", "message", "fix"),
    [
        ({"root": None}, r"data\.root is not set", "data.root=FOLDER"),
        ({"root": "nowhere"}, r"no folder data\.root=nowhere", "data.root=FOLDER"),
        ({"annotations": "other.json"}, r"no file of annotations .*other\.json", "data.annotations=FILE.json"),
        ({"size": 0}, r"data\.size is 0", "data.size=128"),
    ],
)
def test_bad_options_are_refused(tmp_path, options, message, fix):
    write(tmp_path, annotations())
    with pytest.raises(Refused, match=message) as caught:
        _ = Coco(**{"root": tmp_path, **options}).corpus
    assert caught.value.problems[0].fix == fix


def test_a_model_learns_from_it(tmp_path):
    data = coco(write(tmp_path, annotations()), size=32)
    model = RTDETR(**data.sizes, widths=(4, 8), depths=(1, 1), width=16, heads=2, queries=4)
    task = Detection(model=model, optimizer=torch.optim.Adam, classes=2)
    before = [weight.clone() for weight in model.parameters()]
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    Trainer(fast_dev_run=2, accelerator="cpu", enable_model_summary=False, **quiet).fit(task, data)
    assert not any(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
