//! `Detector`, and what it finds.

use std::path::PathBuf;

use numpy::{PyArray1, PyArray2, PyArray3, PyArrayMethods};
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::device;
use crate::errors::raised;
use crate::images::Images;

/// A trained model on a device, ready to score images.
///
/// It may be shared by threads: each prepares its images by itself, and they take turns at the net, which uses all cores or the GPU.
#[pyclass(module = "fcdd", frozen)]
pub(crate) struct Detector(fcdd::Detector);

impl From<fcdd::Detector> for Detector {
    fn from(detector: fcdd::Detector) -> Detector {
        Detector(detector)
    }
}

#[pymethods]
impl Detector {
    /// Loads a model file, or the model of a run's folder.
    ///
    /// `device` is "auto" (the GPU where one can be used, else the CPU), "cpu", "cuda" or the number of a GPU. `threshold` and
    /// `pixel_threshold` replace the model's. `unsure` is a band around 0.5 of normalized scores, such as (0.4, 0.6), in which images are
    /// called unsure. Without `input_check` no image is called unusable.
    ///
    /// >>> import fcdd
    /// >>> detector = fcdd.Detector.load("run", device="cpu")
    /// >>> detector.threshold > 0
    /// True
    #[staticmethod]
    #[pyo3(signature = (path, *, device = None, threshold = None, pixel_threshold = None, unsure = None, input_check = true),
           text_signature = "(path, *, device='auto', threshold=None, pixel_threshold=None, unsure=None, input_check=True)")]
    fn load(
        py: Python<'_>,
        path: PathBuf,
        device: Option<&Bound<'_, PyAny>>,
        threshold: Option<f32>,
        pixel_threshold: Option<f32>,
        unsure: Option<(f64, f64)>,
        input_check: bool,
    ) -> PyResult<Detector> {
        let device = device::of(py, device)?;
        let load = || -> fcdd::Result<fcdd::Detector> {
            let mut detector = fcdd::Detector::load(path, device)?;
            if let Some(threshold) = threshold {
                detector = detector.with_threshold(threshold)?;
            }
            if let Some(threshold) = pixel_threshold {
                detector = detector.with_pixel_threshold(threshold)?;
            }
            if let Some((low, high)) = unsure {
                detector = detector.with_unsure(low, high)?;
            }
            Ok(if input_check { detector } else { detector.without_input_check() })
        };
        py.detach(load).map(Detector).map_err(raised)
    }

    /// The score above which images are called anomalous.
    #[getter]
    fn threshold(&self) -> f32 {
        self.0.threshold()
    }

    /// The value of an anomaly map above which pixels are anomalous; None of a model that knows none.
    #[getter]
    fn pixel_threshold(&self) -> Option<f32> {
        self.0.pixel_threshold()
    }

    /// Scores an image, or a list of them, several at a time.
    ///
    /// An image is a path; an array of uint8, uint16 or floating-point samples from 0 to 1, of shape (height, width) or (height, width,
    /// channels), red first; an image of Pillow; or the bytes of an image file. An array with four axes is as a list.
    ///
    /// >>> import fcdd, numpy
    /// >>> detector = fcdd.Detector.load("run")
    /// >>> detector.detect("part.png").verdict
    /// 'anomalous'
    /// >>> [found.verdict for found in detector.detect(["part.png", numpy.zeros((32, 32), numpy.uint8)])]
    /// ['anomalous', 'unusable']
    fn detect<'py>(&self, py: Python<'py>, images: Images) -> PyResult<Bound<'py, PyAny>> {
        let (alone, images) = match images {
            Images::One(image) => (true, vec![image]),
            Images::Several(images) => (false, images),
        };
        let mut found = Vec::with_capacity(images.len());
        let mut detections = self.0.detect_iter(images);
        while let Some(detection) = py.detach(|| detections.next()) {
            found.push(Bound::new(py, Detection(detection.map_err(raised)?))?);
            py.check_signals()?;
        }
        match (alone, found.pop()) {
            (true, Some(detection)) => Ok(detection.into_any()),
            (_, last) => Ok(PyList::new(py, found.into_iter().chain(last).collect::<Vec<_>>())?.into_any()),
        }
    }

    fn __repr__(&self) -> String {
        format!("Detector(threshold={})", self.0.threshold())
    }
}

/// What was found in one image.
#[pyclass(module = "fcdd", frozen)]
pub(crate) struct Detection(fcdd::Detection);

#[pymethods]
impl Detection {
    /// How anomalous the image is: 0 or more. Scores are comparable within one model only.
    #[getter]
    fn score(&self) -> f32 {
        self.0.score
    }

    /// The same as a number from 0 to 1, which is 0.5 at the threshold.
    #[getter]
    fn normalized_score(&self) -> f64 {
        self.0.normalized_score
    }

    /// The score above which images are anomalous.
    #[getter]
    fn threshold(&self) -> f32 {
        self.0.threshold
    }

    /// "good", "unsure", "anomalous", or "unusable" where the image cannot be judged.
    #[getter]
    fn verdict(&self) -> &'static str {
        self.0.verdict.word()
    }

    /// Why the image cannot be judged, the worst reason first.
    #[getter]
    fn reasons(&self) -> Vec<String> {
        self.0.reasons.clone()
    }

    /// The value of the map above which pixels are anomalous; None of a model that knows none.
    #[getter]
    fn pixel_threshold(&self) -> Option<f32> {
        self.0.pixel_threshold
    }

    /// Where in the image the anomaly lies: an array of (height, width) of the image, from 0 to 1, on one scale for all images of a model.
    fn heatmap<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let values = py.detach(|| self.0.heatmap().map(|heatmap| heatmap.values())).map_err(raised)?;
        PyArray1::from_vec(py, values).reshape(self.0.size())
    }

    /// The heatmap in colours, from blue to red: an array of (height, width, 3).
    fn heatmap_image<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray3<u8>>> {
        let image = py.detach(|| self.0.heatmap().map(|heatmap| heatmap.to_image())).map_err(raised)?;
        let (height, width) = self.0.size();
        PyArray1::from_vec(py, image.into_raw()).reshape([height, width, 3])
    }

    /// The anomaly map before scaling, as large as the image, in the units of the pixel threshold.
    fn map<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray2<f32>>> {
        PyArray1::from_vec(py, py.detach(|| self.0.map()).map_err(raised)?).reshape(self.0.size())
    }

    /// Where the map exceeds a threshold, or that of the detection: connected regions of at least so many pixels, those with the highest
    /// peaks first.
    #[pyo3(signature = (pixel_threshold = None, min_area = 1))]
    fn regions(&self, py: Python<'_>, pixel_threshold: Option<f32>, min_area: usize) -> PyResult<Vec<Region>> {
        let regions = py.detach(|| self.0.regions(pixel_threshold, min_area)).map_err(raised)?;
        Ok(regions.into_iter().map(Region::from).collect())
    }

    fn __repr__(&self) -> String {
        format!("Detection(score={}, threshold={}, verdict='{}')", self.0.score, self.0.threshold, self.verdict())
    }
}

/// A connected region of anomalous pixels.
#[pyclass(module = "fcdd", frozen, get_all)]
pub(crate) struct Region {
    x: usize,
    y: usize,
    width: usize,
    height: usize,
    area: usize,
    peak: f32,
    peak_x: usize,
    peak_y: usize,
    mean: f32,
    contour: Vec<(usize, usize)>,
}

impl From<fcdd::Region> for Region {
    fn from(region: fcdd::Region) -> Region {
        let fcdd::Region { x, y, width, height, area, peak, peak_x, peak_y, mean, contour, .. } = region;
        Region { x, y, width, height, area, peak, peak_x, peak_y, mean, contour }
    }
}

#[pymethods]
impl Region {
    fn __repr__(&self) -> String {
        let Region { x, y, width, height, peak, .. } = self;
        format!("Region(x={x}, y={y}, width={width}, height={height}, peak={peak})")
    }
}
