"""The TFDS source: prepared data sets, read without TensorFlow, and its errors."""

import json
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

from gsu_jax.data import ForgetClass, load, parse_request
from gsu_jax.data.sources import locate
from gsu_jax.data.sources._tfds import read_tfds


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def mnist138(tfds_dir, cache_dir):
    return load("mnist", data_dir=tfds_dir, cache_dir=cache_dir, classes=("1", "3", "8"))


@pytest.fixture
def prepared(tmp_path):
    """Writes dataset_info.json as TFDS does, without any record."""

    def write(name, version="1.0.0", **changes):
        folder = tmp_path / name / version
        folder.mkdir(parents=True)
        info = {"name": name, "version": version, "splits": [{"name": "train"}], **changes}
        (folder / "dataset_info.json").write_text(json.dumps(info))
        return tmp_path

    return write


def test_mnist_138_has_the_counts_of_the_paper(mnist138):
    assert (len(mnist138.train), len(mnist138.test)) == (18_724, 3_119)
    assert mnist138.classes == {"label": ("1", "3", "8")}
    assert mnist138.train.images.dtype == np.uint8
    assert mnist138.image_shape == (28, 28, 1)
    train = ForgetClass("1").split(mnist138).train
    assert train.counts == {"forget": 6_742, "retain": 11_982}
    assert train.describe() == "forget: 6,742 images (class 1); retain: 11,982 images"
    test = parse_request("1", mnist138).split(mnist138).test
    assert test.counts == {"forget": 1_135, "retain": 3_119 - 1_135}


def test_a_cached_start_is_fast_and_gives_the_same_data(mnist138, tfds_dir, cache_dir):
    start = time.perf_counter()
    again = load("mnist", data_dir=tfds_dir, cache_dir=cache_dir, classes=(1, 3, 8))
    assert time.perf_counter() - start < 0.7
    assert again.fingerprint == mnist138.fingerprint
    np.testing.assert_array_equal(again.train.images, mnist138.train.images)
    np.testing.assert_array_equal(again.test.attributes["label"], mnist138.test.attributes["label"])


def test_a_cached_start_imports_no_heavy_package(mnist138, tfds_dir, cache_dir):
    program = (
        "import sys; from gsu_jax.data import load; "
        f"load('mnist', data_dir={str(tfds_dir)!r}, cache_dir={str(cache_dir)!r}, "
        "classes=('1', '3', '8')); "
        "print({'tensorflow_datasets', 'tensorflow', 'PIL', 'sklearn'} & set(sys.modules))"
    )
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert (done.stdout.strip(), done.stderr) == ("set()", "")


def test_images_and_labels_equal_what_tfds_itself_decodes(mnist138, tfds_dir):
    import tensorflow_datasets as tfds

    records = tfds.data_source("mnist", data_dir=tfds_dir, split="test", download=False)
    first = [r for r in records.__getitems__(list(range(200))) if r["label"] in (1, 3, 8)]
    n = len(first)
    np.testing.assert_array_equal(mnist138.test.images[:n], [r["image"] for r in first])
    names = [mnist138.classes["label"][k] for k in mnist138.test.attributes["label"][:n]]
    assert names == [str(r["label"]) for r in first]


def test_faces_have_boolean_attributes_and_are_resized(tfds_dir, cache_dir, capfd):
    calls = []
    faces = load(
        "fairface64",
        data_dir=tfds_dir,
        cache_dir=cache_dir,
        image_size=32,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert faces.label == "Male"
    assert faces.classes["Male"] == ("False", "True")
    assert faces.classes["age"][0] == "20-29"
    assert faces.train.attributes["Male"].dtype == bool
    assert faces.image_shape == (32, 32, 3)
    assert calls == sorted(calls)
    assert calls[-1] == (7_420, 7_420)
    splits = parse_request("Male", faces).split(faces)
    assert [split.counts["forget"] for split in splits] == [3_220, 490]
    assert capfd.readouterr() == ("", "")


def test_sprites_have_the_names_of_their_shapes(tfds_dir, cache_dir):
    hearts = load("sprites64", data_dir=tfds_dir, cache_dir=cache_dir, classes=("heart",))
    assert len(hearts.train) == 3_600
    assert set(hearts.train.attributes["shape"]) == {0}
    assert (hearts.label, hearts.classes["shape"]) == ("shape", ("heart",))
    assert list(hearts.classes) == ["orientation", "scale", "shape", "x_position", "y_position"]


def test_the_cache_key_changes_with_the_prepared_files(tfds_dir, tmp_path):
    folder = tmp_path / "fashion_mnist" / "3.0.1"
    shutil.copytree(tfds_dir / "fashion_mnist" / "3.0.1", folder)
    folder.chmod(0o755)
    before = locate("fashion_mnist", tmp_path).key()
    assert locate("fashion_mnist", tmp_path).key() == before
    info = folder / "dataset_info.json"
    info.chmod(0o644)
    info.write_text(info.read_text() + "\n")
    changed = locate("fashion_mnist", tmp_path).key()
    assert changed != before
    shard = next(folder.glob("*test*record*"))
    shard.chmod(0o644)
    shard.touch()
    assert locate("fashion_mnist", tmp_path).key() != changed


def test_a_damaged_shard_is_named_with_its_data_set(tfds_dir, tmp_path):
    folder = tmp_path / "fashion_mnist" / "3.0.1"
    shutil.copytree(tfds_dir / "fashion_mnist" / "3.0.1", folder)
    folder.chmod(0o755)
    shard = next(folder.glob("*test*record*"))
    shard.chmod(0o644)
    shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
    located = locate("fashion_mnist", tmp_path)
    with pytest.raises(ValueError, match=r"fashion_mnist in .* cannot be read"):
        read_tfds(located, ("Bag",))


def test_the_newest_prepared_version_is_taken(prepared):
    for version in ("2.0.0", "10.0.0", "9.1.0"):
        root = prepared("mnist", version, fileFormat="array_record")
    assert locate("mnist", root).folder.name == "10.0.0"


def test_a_config_is_named_with_a_slash(prepared):
    root = prepared("mnist_corrupted/identity", fileFormat="array_record")
    assert locate("mnist_corrupted/identity", root).splits == ("train",)
    with pytest.raises(ValueError, match=r"name: mnist_corrupted.*mnist_corrupted/identity"):
        locate("mnist_corrupted", root)


@pytest.mark.parametrize("changes", [{}, {"fileFormat": "tfrecord"}])
def test_tfrecord_files_say_how_to_prepare(prepared, changes):
    root = prepared("mnist", **changes)
    with pytest.raises(ValueError, match=r"name: mnist .*array_record") as error:
        load("mnist", data_dir=root)
    assert 'download_and_prepare(file_format="array_record")' in str(error.value)


def test_a_data_set_that_is_not_prepared_says_how_to_prepare(prepared):
    root = prepared("fashion_mnist")
    with pytest.raises(ValueError, match=r"celeb_a.*fashion_mnist") as error:
        load("celeb_a", data_dir=root)
    assert 'tfds.builder("celeb_a"' in str(error.value)


def test_an_unknown_data_set_gets_a_suggestion(prepared):
    root = prepared("mnist")
    with pytest.raises(ValueError, match=r"'mnits'.* Did you mean 'mnist'"):
        load("mnits", data_dir=root)


def test_a_missing_data_folder_is_named(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"data_dir.*gone.*mnist") as error:
        load("mnist", data_dir=tmp_path / "gone")
    for words in ("data_dir=", "TFDS_DATA_DIR", 'tfds.builder("mnist"', "docs/guide/data.md"):
        assert words in str(error.value)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "elsewhere"))
    with pytest.raises(ValueError, match=r"data_dir.*elsewhere"):
        load("mnist")


def test_a_damaged_description_and_a_missing_split_are_named(prepared):
    root = prepared("mnist", fileFormat="array_record", splits=[{"name": "all"}])
    with pytest.raises(ValueError, match=r"train.*got all"):
        load("mnist", data_dir=root)
    (root / "mnist" / "1.0.0" / "dataset_info.json").write_text("{")
    with pytest.raises(ValueError, match=r"data_dir.*dataset_info\.json"):
        load("mnist", data_dir=root)


def test_an_unknown_class_is_named_before_anything_is_decoded(tfds_dir, tmp_path):
    start = time.perf_counter()
    with pytest.raises(ValueError, match=r"class of label '11'.*0, 1, 2"):
        load("mnist", data_dir=tfds_dir, cache_dir=tmp_path, classes=("1", "11"))
    assert time.perf_counter() - start < 3


@pytest.mark.parametrize(
    ("module", "package"),
    [
        ("tensorflow_datasets", "tensorflow-datasets"),
        ("array_record.python.array_record_data_source", "array_record"),
        ("PIL.Image", "pillow"),
    ],
)
def test_a_missing_package_is_asked_for_by_name(tfds_dir, tmp_path, monkeypatch, module, package):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf'{package}.*pip install "gsu-jax\[experiments\]"'):
        load("sprites64", data_dir=tfds_dir, cache_dir=tmp_path)
