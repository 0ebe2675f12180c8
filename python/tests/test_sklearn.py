"""FCDD among scikit-learn's outlier detectors."""

import doctest
import pickle

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("sklearn")

from sklearn.base import clone  # noqa: E402
from sklearn.exceptions import NotFittedError  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import FunctionTransformer  # noqa: E402

import fcdd._settings  # noqa: E402
from conftest import SMALL  # noqa: E402
from fcdd.sklearn import FCDD  # noqa: E402

SMALL = {**SMALL, "epochs": 3}


@pytest.fixture(scope="module")
def files(parts):
    return sorted((parts / "train/good").glob("*.png"))


@pytest.fixture(scope="module")
def arrays(files):
    return np.stack([np.asarray(Image.open(file)) for file in files])


@pytest.fixture(scope="module")
def fitted(arrays):
    return FCDD(**SMALL).fit(arrays)


def test_scores_are_lower_for_what_is_anomalous(fitted, arrays, dent):
    found = fitted.detect([dent, *arrays])
    scores = fitted.score_samples([dent, *arrays])
    assert np.array_equal(scores, [-detection.score for detection in found])
    assert fitted.offset_ == -found[0].threshold
    assert np.array_equal(fitted.decision_function([dent, *arrays]), scores - fitted.offset_)
    called = [{"good": 1, "anomalous": -1}[detection.verdict] for detection in found]
    assert np.array_equal(fitted.predict([dent, *arrays]), called)


def test_images_are_learned_from_whatever_they_come_as(fitted, arrays, files):
    expected = fitted.score_samples(arrays[:2])
    for images in (files, list(arrays), arrays[..., None], arrays / 255, np.stack([arrays] * 3, axis=3)):
        scores = FCDD(**SMALL).fit(images).score_samples(arrays[:2])
        assert np.array_equal(scores, expected)
    assert np.array_equal(FCDD(**SMALL).fit(files[0].parent).score_samples(arrays[:2]), expected)
    assert np.array_equal(FCDD(**SMALL).fit_predict(arrays), fitted.predict(arrays))


def test_parameters_are_the_settings(fitted, files):
    model = FCDD(epochs=3, lr=1e-3)
    assert repr(model) == "FCDD(epochs=3, lr=0.001)"
    params = model.get_params()
    assert params["epochs"] == 3 and params["noise"] is None and params["device"] == "auto"
    assert set(params) == {"device", "image_fit", *fcdd._settings.Settings.__annotations__} - {"fit"}
    assert model.set_params(epochs=4).epochs == 4
    with pytest.raises(ValueError):
        model.set_params(epoch=4)
    with pytest.raises(TypeError, match="epoch"):
        FCDD(epoch=4)
    copy = clone(fitted)
    assert copy.get_params() == fitted.get_params() and not hasattr(copy, "model_")
    with pytest.raises(NotFittedError):
        copy.predict(files)
    with pytest.raises(fcdd.SettingError):
        FCDD(**{**SMALL, "epochs": 0}).fit(files)
    with pytest.raises(fcdd.SettingError, match="`fit` tile"):
        FCDD(image_fit="tile:1000000,5", **SMALL).fit(files)
    with pytest.raises(fcdd.SettingError):
        FCDD(**SMALL).fit(np.full((8, 32, 32), 2.0))
    with pytest.raises(fcdd.SettingError, match="paths of their files"):
        FCDD(**SMALL).fit(np.zeros((8, 32, 32, 3), np.uint16))


def test_it_ends_a_pipeline_and_is_pickled(fitted, arrays):
    def inverted(images):
        return 255 - np.asarray(images)

    pipeline = make_pipeline(FunctionTransformer(inverted), FCDD(**SMALL)).fit(inverted(arrays))
    assert np.array_equal(pipeline.score_samples(inverted(arrays)), fitted.score_samples(arrays))
    assert np.array_equal(pipeline.predict(inverted(arrays)), fitted.predict(arrays))
    pipeline.set_params(fcdd__epochs=1)
    assert clone(pipeline).get_params()["fcdd__epochs"] == 1
    copy = pickle.loads(pickle.dumps(fitted))
    assert np.array_equal(copy.score_samples(arrays), fitted.score_samples(arrays))


def test_examples(workplace):
    assert doctest.testmod(fcdd.sklearn).failed == 0
