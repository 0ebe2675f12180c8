"""Folders and results by anomalib's names."""

import doctest
import shutil

import numpy as np
import pytest

import fcdd
from conftest import SMALL
from fcdd import anomalib


@pytest.fixture
def photos(parts, tmp_path):
    """The parts under other names."""
    photos = tmp_path / "photos"
    for place, name in {"train/good": "ok", "test/good": "more/ok", "test/dent": "scratches"}.items():
        shutil.copytree(parts / place, photos / name)
    (photos / "masks").mkdir()
    for mask in (parts / "ground_truth/dent").iterdir():
        shutil.copy(mask, photos / "masks" / mask.name.replace("_mask", ""))
    return photos


def test_folders_of_other_names_are_trained_and_evaluated_on(photos, parts, tmp_path):
    names = {"normal_dir": "ok", "normal_test_dir": "more", "abnormal_dir": ["scratches"], "mask_dir": "masks"}
    arranged = anomalib.arrange(tmp_path / "arranged", photos, **names)
    both = []
    for number, data in enumerate([arranged, parts]):
        out = tmp_path / f"run-{number}"
        fcdd.train(data, out=out, epochs=1, **SMALL)
        both.append(fcdd.evaluate(out, device="cpu"))
    assert both[0]["image_auroc"] == both[1]["image_auroc"] and both[0]["pixel_auroc"] == both[1]["pixel_auroc"]
    assert [kind["kind"] for kind in both[0]["breakdown"]["kinds"]] == ["scratches"]
    with pytest.raises(fcdd.FileError, match="there already"):
        anomalib.arrange(arranged, photos, normal_dir="ok")


def test_images_of_one_name_are_kept_apart(photos, tmp_path):
    arranged = anomalib.arrange(tmp_path / "arranged", photos, normal_dir=["ok", "more"])
    assert len(list((arranged / "train/good").iterdir())) == 44 and not (arranged / "test").exists()


def test_what_is_missing_is_named(photos, tmp_path):
    with pytest.raises(fcdd.FileError, match="other: holds no images"):
        anomalib.arrange(tmp_path / "a", photos, normal_dir="other")
    (photos / "masks/02.png").unlink()
    with pytest.raises(fcdd.FileError, match="02.png: has no mask"):
        anomalib.arrange(tmp_path / "b", photos, normal_dir="ok", abnormal_dir="scratches", mask_dir="masks")
    with pytest.raises(fcdd.SettingError, match="1 `mask_dir` for 2 `abnormal_dir`"):
        anomalib.arrange(tmp_path / "c", photos, normal_dir="ok", abnormal_dir=["scratches", "more"], mask_dir="masks")


def test_results_have_anomalibs_names(detector, dent, good):
    for path, label in [(dent, True), (good, False)]:
        detection = detector.detect(path)
        found = anomalib.prediction(detection)
        assert found["pred_label"] is label and (found["pred_score"] > 0.5) is label
        assert np.array_equal(found["anomaly_map"], detection.map())
        assert found["pred_mask"].sum() == sum(region.area for region in detection.regions())


def test_examples(photos, workplace):
    assert doctest.testmod(anomalib).failed == 0
