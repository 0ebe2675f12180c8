"""Detection: whatever images come as, they get the score of the file."""

import csv
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fcdd

GOLDEN = Path(__file__).parents[2] / "tests/golden/run-0.1"


def test_scores_are_those_of_the_program():
    detector = fcdd.Detector.load(GOLDEN / "run", device="cpu")
    rows = list(csv.DictReader((GOLDEN / "scores.csv").open()))
    found = detector.detect([GOLDEN / "data" / row["image"] for row in rows])
    assert [one.score for one in found] == pytest.approx([float(row["score"]) for row in rows], rel=1e-5)
    assert [one.verdict for one in found] == [["good", "anomalous"][int(row["predicted"])] for row in rows]


def test_an_image_has_one_score_whatever_it_comes_as(detector, dent):
    score = detector.detect(dent).score
    grey = np.asarray(Image.open(dent))
    assert grey.dtype == np.uint8 and grey.ndim == 2
    rgb = np.stack([grey] * 3, axis=2)
    for image in [
        str(dent),
        dent.read_bytes(),
        grey,
        grey[:, :, None],
        np.stack([grey, np.zeros_like(grey)], axis=2),  # transparent
        rgb,
        np.dstack([rgb, np.zeros_like(grey)]),
        np.ascontiguousarray(grey.T).T,  # columns first in memory
        np.repeat(grey, 2, axis=1)[:, ::2],
        grey.astype(np.uint16) * 257,
        (grey.astype(np.uint16) * 257).astype(">u2"),
        rgb.astype(np.uint16) * 257,
        grey / np.float32(255),
        rgb / 255.0,
        Image.open(dent),
        Image.open(dent).convert("RGB"),
        Image.open(dent).convert("RGBA"),
        Image.open(dent).convert("LA"),
        Image.open(dent).convert("P"),
        Image.fromarray(grey.astype(np.uint16) * 257),
        Image.fromarray(grey.astype(np.int32) * 257),
    ]:
        assert detector.detect(image).score == score, image


def test_lists_are_batched_in_their_order(detector, dent, good):
    both = [detector.detect(good).score, detector.detect(dent).score]
    assert both[0] < detector.threshold < both[1]
    arrays = [np.asarray(Image.open(path)) for path in (good, dent)]
    for images in ([good, dent], (good, arrays[1]), np.stack(arrays)[..., None]):
        found = detector.detect(images)
        assert isinstance(found, list) and [one.score for one in found] == both
    assert [one.score for one in detector.detect([good, dent] * 30)] == both * 30
    assert detector.detect([]) == []


def test_a_detection_shows_where(detector, dent):
    detection = detector.detect(dent)
    heatmap = detection.heatmap()
    assert heatmap.shape == (32, 32) and heatmap.dtype == np.float32 and 0 <= heatmap.min() < heatmap.max() <= 1
    assert heatmap.flags.writeable and heatmap.flags.c_contiguous
    assert detection.map().shape == (32, 32) and np.all(detection.map() >= 0)
    assert detection.heatmap_image().shape == (32, 32, 3) and detection.heatmap_image().dtype == np.uint8
    assert detection.reasons == [] and 0.5 < detection.normalized_score <= 1
    wide = np.zeros((20, 50), np.uint8)
    assert detector.detect(wide).heatmap().shape == (20, 50)


def test_regions_lie_where_the_map_is_high(detector, dent):
    detection = detector.detect(dent)
    threshold = float(np.quantile(detection.map(), 0.9))
    regions = detection.regions(threshold)
    assert sum(region.area for region in regions) == np.sum(detection.map() > np.float32(threshold))
    first = regions[0]
    assert first.peak == detection.map().max() == detection.map()[first.peak_y, first.peak_x]
    assert first.x <= first.peak_x < first.x + first.width and first.mean <= first.peak and first.contour
    assert detection.regions(threshold, min_area=first.area + 10**6) == []


def test_thresholds_can_be_others(run, dent):
    detector = fcdd.Detector.load(str(run), device="cpu", threshold=1e6, pixel_threshold=0.5)
    assert (detector.threshold, detector.pixel_threshold) == (1e6, 0.5)
    assert detector.detect(dent).verdict == "good" and detector.detect(dent).pixel_threshold == 0.5
    assert fcdd.Detector.load(run, device="cpu", threshold=0.0).detect(dent).verdict == "anomalous"
    assert fcdd.Detector.load(run, device="cpu", unsure=(0.0, 1.0)).detect(dent).verdict == "unsure"


def test_threads_share_a_detector(detector, dent, good):
    images = [dent, good] * 8
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(detector.detect, images))
    assert [one.score for one in found] == [one.score for one in detector.detect(images)]


@pytest.mark.parametrize(
    "image, problem, remedy",
    [
        (object(), "no image", "give a path"),
        (None, "no image", "give a path"),
        (np.zeros((3, 8, 8), np.uint8), "shape [3, 8, 8]", "bring its axes"),
        (np.zeros(8, np.uint8), "shape [8]", "bring its axes"),
        (np.zeros((0, 8), np.uint8), "0×8 pixels", "give all samples"),
        (np.zeros((8, 8), np.int64), "samples of int64", "give uint8"),
        (np.full((8, 8), 255.0), "not from 0 to 1", "divide them"),
        (np.full((8, 8), np.nan, np.float32), "not from 0 to 1", "divide them"),
    ],
)
def test_what_is_no_image_is_refused_with_a_remedy(detector, image, problem, remedy):
    with pytest.raises(fcdd.SettingError) as raised:
        detector.detect(image)
    assert problem in raised.value.problem and remedy in raised.value.remedy
    assert str(raised.value) == f"{raised.value.problem}; {raised.value.remedy}"
    assert isinstance(raised.value, ValueError)


def test_files_that_cannot_be_read_are_named(detector, tmp_path: Path, dent):
    missing, broken = tmp_path / "missing.png", tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    for path, remedy in [(missing, "check the spelling of the path"), (broken, "")]:
        with pytest.raises(fcdd.FileError) as raised:
            detector.detect([dent, path])
        assert str(path) in raised.value.problem and remedy in raised.value.remedy
    with pytest.raises(fcdd.FileError):
        fcdd.Detector.load(tmp_path)


def test_arguments_that_cannot_work_are_refused(run):
    for arguments, problem in [
        ({"device": "tpu"}, "'tpu' is no device"),
        ({"device": "cpu", "threshold": -1}, "-1"),
        ({"device": "cpu", "unsure": (0.6, 0.7)}, "0.6"),
    ]:
        with pytest.raises(fcdd.SettingError, match=problem):
            fcdd.Detector.load(run, **arguments)


def test_images_are_refused_that_take_more_memory_than_they_may(detector, tmp_path):
    Image.fromarray(np.zeros((1500, 1500, 3), np.uint8)).save(tmp_path / "large.jpg")
    assert detector.detect(tmp_path / "large.jpg").verdict == "unusable"
    fcdd.limit_image_memory(1 << 20)
    with pytest.raises(fcdd.Error, match="large.jpg.*memory"):
        detector.detect(tmp_path / "large.jpg")
    fcdd.limit_image_memory(1 << 30)


def test_errors_can_be_sent_between_processes():
    error = pickle.loads(pickle.dumps(fcdd.FileError("it is empty", "write it")))
    assert (type(error), error.problem, error.remedy) == (fcdd.FileError, "it is empty", "write it")
    assert str(fcdd.Error("it is so")) == "it is so"
