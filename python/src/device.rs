//! Where to compute, as an argument.

use fcdd::Device;
use fcdd::device::choose;
use pyo3::prelude::*;

use crate::errors::raised;

/// The device of a name, `auto`, `cpu` or `cuda`, or of the number of a GPU; `auto` where none is given.
pub(crate) fn of(py: Python<'_>, name: Option<&Bound<'_, PyAny>>) -> PyResult<Device> {
    let name = name.map_or(Ok("auto".to_string()), |name| name.str().map(|name| name.to_string()))?;
    let choice = name.parse().map_err(raised)?;
    py.detach(|| choose(choice)).map(|(device, _)| device).map_err(raised)
}
