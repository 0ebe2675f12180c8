"""Training and evaluation: progress is told, Ctrl-C leaves a run that can be resumed."""

import json
import os
import signal
import threading
import time

import pytest

import fcdd
from conftest import SMALL


def test_a_training_is_a_detector_and_a_file(parts, dent, tmp_path):
    trained = fcdd.train(parts, epochs=2, seed=3, **SMALL)
    assert [epoch["epoch"] for epoch in trained.history] == [1, 2]
    trained.save(tmp_path / "model.safetensors")
    loaded = fcdd.Detector.load(tmp_path / "model.safetensors", device="cpu")
    own = trained.detector(device="cpu")
    assert own.detect(dent).score == loaded.detect(dent).score
    assert trained.threshold == own.threshold == loaded.threshold
    assert fcdd.train(parts, epochs=2, seed=3, **SMALL).history[1]["loss"] == trained.history[1]["loss"]
    assert fcdd.train(parts, epochs=2, seed=4, **SMALL).history[1]["loss"] != trained.history[1]["loss"]


def test_settings_are_given_as_python_has_them(parts, tmp_path):
    fcdd.train(
        str(parts), out=tmp_path / "run", epochs=1, reestimate=True, lr=1e-5, class_="good", skip_broken=True,
        noise="cutpaste", flips="hv", patience=None, roi=parts / "ground_truth/dent/00_mask.png", **SMALL,
    )  # fmt: skip
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert (config["reestimate"], config["lr"], config["skip_broken"], config["flips"]) == (True, 1e-5, True, "hv")
    assert (config["noise"], config["patience"]) == ("cutpaste", None) and config["roi"].endswith("00_mask.png")


def test_progress_is_told_in_the_callers_thread(parts):
    events = []
    fcdd.train(parts, epochs=1, callback=lambda event: events.append((threading.get_ident(), event)), **SMALL)
    assert {thread for thread, _ in events} == {threading.get_ident()}
    progress = [event for _, event in events if event.kind == "progress" and event.task == "training"]
    assert progress[-1].done == progress[-1].total > 0
    assert any(event.kind == "finished" and event.text for _, event in events)


def test_other_threads_run_meanwhile(parts):
    ticks, over = [], threading.Event()

    def tick():
        while not over.is_set():
            ticks.append(time.monotonic())
            time.sleep(0.002)

    thread = threading.Thread(target=tick)
    thread.start()
    began = time.monotonic()
    fcdd.train(parts, epochs=20, **SMALL)
    ended = time.monotonic()
    over.set()
    thread.join()
    assert sum(began < at < ended for at in ticks) > 5


def test_an_exception_of_the_callback_stops_and_is_raised(parts, tmp_path):
    def stop(event):
        if event.kind == "progress" and event.task == "training" and event.done > 0:
            raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        fcdd.train(parts, out=tmp_path / "run", epochs=1000, callback=stop, **SMALL)
    assert (tmp_path / "run/model.safetensors").exists()


def test_ctrl_c_leaves_a_run_that_ends_as_if_it_had_not_been_stopped(parts, tmp_path):
    settings = {"epochs": 30, "seed": 1, **SMALL}
    begun = []

    def press(event):
        if event.task == "training" and event.done and not begun:
            begun.append(event)
            os.kill(os.getpid(), signal.SIGINT)

    # Where tests run in the background, the signal is ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.raises(KeyboardInterrupt):
        fcdd.train(parts, out=tmp_path / "run", callback=press, **settings)
    signal.signal(signal.SIGINT, before)
    resumed = fcdd.resume(tmp_path / "run", device="cpu")
    whole = fcdd.train(parts, **settings)
    losses = [[epoch["loss"] for epoch in trained.history] for trained in (resumed, whole)]
    assert len(losses[0]) == 30 and losses[0] == losses[1]


def test_a_model_is_evaluated(run, parts, tmp_path):
    figures = fcdd.evaluate(run, parts, device="cpu")
    assert figures["image_auroc"] > 0.5 and figures["nominal"] > 0 and 0 <= figures["pixel_auroc"] <= 1
    written = fcdd.evaluate(str(run), parts, out=tmp_path / "out", device="cpu")
    assert written == json.loads((tmp_path / "out/evaluation.json").read_text()) == figures


@pytest.mark.parametrize(
    "arguments, problem, remedy",
    [
        ({"epoch": 3}, "no setting 'epoch'", "spelling"),
        ({"epochs": "many"}, "`epochs` many", ""),
        ({"epochs": 0}, "`epochs` 0", ""),
        ({"objective": "other"}, "`objective` other", "choose one of fcdd, hsc, ae"),
        ({"dataset": "nothing"}, "no dataset 'nothing'", "choose one of"),
        ({"lr": float("nan")}, "`lr`", "choose a positive number"),
    ],
)
def test_settings_that_cannot_work_are_refused(parts, arguments, problem, remedy):
    with pytest.raises(fcdd.SettingError) as raised:
        fcdd.train(parts, **{"device": "cpu", **arguments})
    assert problem in raised.value.problem and remedy in raised.value.remedy


def test_a_folder_of_no_images_is_refused(tmp_path):
    with pytest.raises(fcdd.FileError) as raised:
        fcdd.train(tmp_path, device="cpu")
    assert str(tmp_path) in raised.value.problem and raised.value.remedy
