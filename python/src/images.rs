//! Images as Python has them: files and their bytes, arrays, Pillow's images; alone or several.

use std::path::PathBuf;

use fcdd::{ImageView, Input};
use numpy::ndarray::{ArrayViewD, Axis, Slice};
use numpy::{Element, PyReadonlyArrayDyn};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};

use crate::errors::{raised, wrong};

/// One image, or several.
pub(crate) enum Images {
    One(Input),
    Several(Vec<Input>),
}

impl<'a, 'py> FromPyObject<'a, 'py> for Images {
    type Error = PyErr;

    fn extract(given: Borrowed<'a, 'py, PyAny>) -> PyResult<Images> {
        let several = given.is_instance_of::<PyList>() || given.is_instance_of::<PyTuple>() || axes(&given) == Some(4);
        match several {
            true => given.try_iter()?.map(|image| input(&image?)).collect::<PyResult<_>>().map(Images::Several),
            false => input(&given).map(Images::One),
        }
    }
}

/// How many axes an array has; None of what is none.
fn axes(given: &Bound<'_, PyAny>) -> Option<usize> {
    given.getattr("ndim").and_then(|axes| axes.extract()).ok()
}

fn input(given: &Bound<'_, PyAny>) -> PyResult<Input> {
    if let Ok(bytes) = given.cast::<PyBytes>() {
        return Ok(Input::Encoded(bytes.as_bytes().to_vec()));
    }
    if let Ok(path) = given.extract::<PathBuf>() {
        return Ok(Input::File(path));
    }
    of_array(&if given.hasattr("getbands")? { of_pillow(given)? } else { numpy(given, None)? })
}

/// An image of Pillow as an array: as it is, or in the mode that the same file is read in.
fn of_pillow<'py>(image: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let image = match image.getattr("mode")?.extract::<String>()?.as_str() {
        "L" | "RGB" | "F" | "I;16" | "I;16L" | "I;16B" | "I;16N" => image.clone(),
        "1" | "LA" | "La" => image.call_method1("convert", ("L",))?,
        "I" => image.call_method1("convert", ("I;16",))?,
        _ => image.call_method1("convert", ("RGB",))?,
    };
    numpy(&image, None)
}

/// What numpy makes of something, with samples of a type where one is wanted.
fn numpy<'py>(given: &Bound<'py, PyAny>, samples: Option<&str>) -> PyResult<Bound<'py, PyAny>> {
    given.py().import("numpy")?.call_method1("asarray", (given, samples))
}

fn of_array(array: &Bound<'_, PyAny>) -> PyResult<Input> {
    let of = array.getattr("dtype")?;
    let kind: String = of.getattr("kind")?.extract()?;
    let view = match (kind.as_str(), of.getattr("itemsize")?.extract::<usize>()?) {
        ("u", 1) => samples::<u8>(array, "uint8")?.view(),
        ("u", 2) => samples::<u16>(array, "uint16")?.view(),
        ("f", _) => samples::<f32>(array, "float32")?.bytes()?.view(),
        ("O", _) => {
            let remedy = "give a path, an array of numpy, an image of Pillow, or a list of them";
            return Err(wrong("what is given is no image", remedy));
        }
        _ => {
            let problem = format!("an image with samples of {of}");
            return Err(wrong(problem, "give uint8, uint16, or floating-point samples from 0 to 1"));
        }
    };
    view.map(Input::Samples).map_err(raised)
}

/// Samples row by row, channels innermost, without transparency.
struct Samples<T> {
    values: Vec<T>,
    height: usize,
    width: usize,
    coloured: bool,
}

impl Samples<u8> {
    fn view(self) -> fcdd::Result<ImageView<'static>> {
        let make = if self.coloured { ImageView::rgb8 } else { ImageView::grey8 };
        make(self.values, self.height, self.width)
    }
}

impl Samples<u16> {
    fn view(self) -> fcdd::Result<ImageView<'static>> {
        let make = if self.coloured { ImageView::rgb16 } else { ImageView::grey16 };
        make(self.values, self.height, self.width)
    }
}

impl Samples<f32> {
    /// The same in eight bits, as the library makes them of floating-point images.
    fn bytes(self) -> PyResult<Samples<u8>> {
        let byte = |v: &f32| (0.0..=1.0).contains(v).then(|| (v * 255.0).round() as u8);
        let values = self.values.iter().map(byte).collect::<Option<_>>().ok_or_else(|| {
            let remedy = "divide them by the largest value that the camera gives";
            wrong("floating-point samples that are not from 0 to 1", remedy)
        })?;
        Ok(Samples { values, height: self.height, width: self.width, coloured: self.coloured })
    }
}

fn samples<T: Element + Copy>(array: &Bound<'_, PyAny>, kind: &str) -> PyResult<Samples<T>> {
    let array: PyReadonlyArrayDyn<'_, T> = numpy(array, Some(kind))?.extract()?;
    let view: ArrayViewD<'_, T> = array.as_array();
    let (height, width, channels) = match *view.shape() {
        [height, width] => (height, width, None),
        [height, width, channels @ 1..=4] => (height, width, Some(channels)),
        _ => {
            let problem = format!("an array of shape {:?} is no image", view.shape());
            let remedy =
                "bring its axes into the order (height, width) or (height, width, channels), of 1 to 4 channels";
            return Err(wrong(problem, remedy));
        }
    };
    let colours = if channels.is_some_and(|channels| channels > 2) { 3 } else { 1 };
    let view = match channels {
        Some(_) => view.slice_axis(Axis(2), Slice::from(..colours)),
        None => view.view(),
    };
    Ok(Samples { values: view.iter().copied().collect(), height, width, coloured: colours == 3 })
}
