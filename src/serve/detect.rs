//! `POST /v1/models/NAME/detect`: what is found of one image, or of several.

use std::sync::Arc;

use axum::extract::multipart::Field;
use axum::extract::{FromRequest, Multipart, Path, Query, Request, State, rejection};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use super::Service;
use super::failure::{Failure, Told, json};
use super::limits::{Held, Taken};
use super::models::ServedModel;
use crate::data::images::Images;
use crate::printable::spelt_bytes;
use crate::report::png::{ColorType, png_bytes};
use crate::run::detector::{Detection, Kept};
use crate::run::input::{Input, Wanted};
use crate::run::overlay::{outlined, tinted};
use crate::run::regions::{Region, Regions};
use crate::run::verdict::Verdict;

/// Bytes of memory that drawing takes for each pixel: of heatmap, overlay and image as they are written.
const DRAWN: usize = 4;

/// What is asked for besides scores.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    heatmap: Option<HeatmapKind>,
    overlay: Option<Png>,
    /// The image as the model was given it: upright, of 8 bits.
    image: Option<Png>,
    #[serde(default)]
    regions: bool,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum HeatmapKind {
    /// In colours.
    Png,
    /// In grey: 0 to 255.
    Grey,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Png {
    Png,
}

impl Asked {
    /// Whether the image's own pixels are needed.
    fn keeps(self) -> bool {
        self.overlay.is_some() || self.image.is_some()
    }

    /// Whether its heatmap is.
    fn draws(self) -> bool {
        self.keeps() || self.heatmap.is_some() || self.regions
    }

    /// What the detector has to keep for it.
    fn wanted(self) -> Wanted {
        Wanted { heatmaps: self.draws(), pixels: self.keeps() }
    }
}

/// What was found of an image.
#[derive(Debug, Serialize)]
struct Found {
    width: usize,
    height: usize,
    score: f32,
    /// None where the model has no threshold; so are those below, but for images that cannot be judged.
    normalized_score: Option<f64>,
    threshold: Option<f32>,
    verdict: Option<Verdict>,
    /// Why it cannot be judged.
    reasons: Vec<String>,
    /// PNG in base64, where it was asked for; so are those below.
    #[serde(skip_serializing_if = "Option::is_none")]
    heatmap: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    overlay: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<String>,
    /// Where the map exceeds the pixel threshold.
    #[serde(skip_serializing_if = "Option::is_none")]
    regions: Option<Vec<Region>>,
}

/// One of several images, by its name.
#[derive(Serialize)]
struct Named {
    name: String,
    #[serde(flatten)]
    found: Option<Found>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Told>,
}

#[derive(Serialize)]
struct Results {
    results: Vec<Named>,
}

/// What a request holds.
pub(super) enum Sent {
    /// An image's bytes.
    One(Held),
    /// Images with their names, as of a form, and the memory that they take.
    Several(Vec<(String, Vec<u8>)>, Option<Taken>),
}

pub(super) async fn detect(
    State(service): State<Arc<Service>>,
    name: Result<Path<String>, rejection::PathRejection>,
    asked: Result<Query<Asked>, rejection::QueryRejection>,
    request: Request,
) -> Result<Response, Failure> {
    let (Path(name), Query(asked)) = (name?, asked?);
    service.models.get(&name)?;
    match service.receive(request).await? {
        Sent::One(held) => {
            let place = service.limits.places(1)?.pop();
            let task = tokio::spawn(examine(service, name, held.bytes, asked, (place, held.taken)));
            let found = task.await.map_err(|_| Failure::internal())??;
            Ok(json(&found))
        }
        Sent::Several(images, taken) => {
            let places = service.limits.places(images.len())?;
            let taken = Arc::new(taken);
            let tasks: Vec<_> = images
                .into_iter()
                .zip(places)
                .map(|((file, bytes), place)| {
                    let held = (place, taken.clone());
                    (file, tokio::spawn(examine(service.clone(), name.clone(), bytes, asked, held)))
                })
                .collect();
            let mut results = Vec::new();
            for (name, task) in tasks {
                let found = task.await.map_err(|_| Failure::internal()).and_then(|found| found);
                let (found, error) = match found {
                    Ok(found) => (Some(found), None),
                    Err(failure) => (None, Some(failure.told())),
                };
                results.push(Named { name, found, error });
            }
            Ok(json(&Results { results }))
        }
    }
}

impl Service {
    /// Reads what a request holds.
    pub(super) async fn receive(&self, request: Request) -> Result<Sent, Failure> {
        let (parts, body) = request.into_parts();
        let kind = content_type(&parts.headers)?;
        let held = self.limits.read(&parts.headers, body).await?;
        if kind == Kind::Image {
            return Ok(Sent::One(held));
        }
        let Held { bytes, taken } = held;
        let mut form = Multipart::from_request(Request::from_parts(parts, bytes.into()), &()).await?;
        let mut images = Vec::new();
        while let Some(field) = form.next_field().await? {
            images.push((name_of(&field), field.bytes().await?.to_vec()));
        }
        match images.is_empty() {
            true => Err(Failure::bad("the form has no images; send each as a file of multipart/form-data")),
            false => Ok(Sent::Several(images, taken)),
        }
    }
}

/// What an image of a form is called: by its file's name, or else by that of its field.
fn name_of(field: &Field) -> String {
    let text = field.file_name().map(str::to_string);
    // Of a name that is no text the parser knows nothing.
    let bytes = || Some(spelt_bytes(file_name(field.headers().get(header::CONTENT_DISPOSITION)?.as_bytes())?));
    text.or_else(bytes).or_else(|| field.name().map(str::to_string)).unwrap_or_default()
}

/// The bytes of a file's name, which stand in quotes.
fn file_name(disposition: &[u8]) -> Option<&[u8]> {
    const START: &[u8] = b"filename=\"";
    let from = disposition.windows(START.len()).position(|bytes| bytes.eq_ignore_ascii_case(START))? + START.len();
    disposition[from..].split(|&byte| byte == b'"').next()
}

#[derive(PartialEq)]
enum Kind {
    Image,
    Form,
}

/// Images as they are, by whatever name, or in a form.
fn content_type(headers: &HeaderMap) -> Result<Kind, Failure> {
    let kind = headers.get(header::CONTENT_TYPE).map_or("", |kind| kind.to_str().unwrap_or_default());
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match kind.as_str() {
        "multipart/form-data" => Ok(Kind::Form),
        // What curl says of bytes.
        "" | "application/octet-stream" | "application/x-www-form-urlencoded" => Ok(Kind::Image),
        kind if kind.starts_with("image/") => Ok(Kind::Image),
        _ => Err(Failure::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "send the bytes of an image (Content-Type image/…), or files as multipart/form-data",
        )),
    }
}

/// Does work that takes a while, in a thread for such.
pub(super) async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Failure::internal())?
}

/// Reads an image, scores it among others, and draws what is asked for. What is `held` is given back at its end, also where nobody waits for it.
async fn examine(
    service: Arc<Service>,
    name: String,
    bytes: Vec<u8>,
    asked: Asked,
    held: impl Send + 'static,
) -> Result<Found, Failure> {
    let model = service.models.get(&name)?;
    let has_threshold = model.has_threshold();
    let (form, wanted) = (model.detector.form(), asked.wanted());
    let coming = model.queue.announce();
    let opened = aside(move || Input::Encoded(bytes).open().map_err(|e| Failure::of(&e))).await?;
    let (height, width) = opened.size();
    let drawn = if asked.draws() { height.saturating_mul(width).saturating_mul(DRAWN) } else { 0 };
    let memory = service.limits.image(opened.bytes(&form, wanted).saturating_add(drawn)).await?;
    let image = aside(move || opened.prepare(&form, wanted).map_err(|e| Failure::of(&e))).await?;
    let kept = model.queue.detect(image, coming).await?;
    let found = if asked.draws() {
        aside(move || Found::of(kept, (height, width), asked, has_threshold)).await
    } else {
        Found::of(kept, (height, width), asked, has_threshold)
    };
    drop((memory, held));
    found
}

impl ServedModel {
    /// Fails unless an image can be read and resized for the model.
    pub(super) async fn check(&self, service: &Service, bytes: Vec<u8>) -> Result<(), Failure> {
        let form = self.detector.form();
        let opened = aside(move || Input::Encoded(bytes).open().map_err(|e| Failure::of(&e))).await?;
        let _memory = service.limits.image(opened.bytes(&form, Wanted::NOTHING)).await?;
        aside(move || opened.prepare(&form, Wanted::NOTHING).map(drop).map_err(|e| Failure::of(&e))).await
    }
}

impl Found {
    fn of(
        Kept { detection, image, .. }: Kept,
        size: (usize, usize),
        asked: Asked,
        has_threshold: bool,
    ) -> Result<Found, Failure> {
        let (heatmap, overlay, image) = drawn(&detection, image, size, asked)?;
        let regions = if asked.regions { Some(detection.regions(None, 1).map_err(|e| Failure::of(&e))?) } else { None };
        let Detection { score, normalized_score, threshold, verdict, reasons, .. } = detection;
        let (height, width) = size;
        Ok(Found {
            width,
            height,
            score,
            normalized_score: has_threshold.then_some(normalized_score),
            threshold: has_threshold.then_some(threshold),
            verdict: Some(verdict).filter(|&verdict| has_threshold || verdict == Verdict::Unusable),
            reasons,
            heatmap,
            overlay,
            image,
            regions,
        })
    }
}

/// Heatmap, overlay and image, those that are asked for.
type Drawn = (Option<String>, Option<String>, Option<String>);

fn drawn(detection: &Detection, image: Option<Images>, size: (usize, usize), asked: Asked) -> Result<Drawn, Failure> {
    if asked.heatmap.is_none() && !asked.keeps() {
        return Ok((None, None, None));
    }
    let of_the_model = |e| Failure::of(&e).of_the_service();
    let colours = detection.heatmap().map_err(of_the_model)?;
    let base64 = |png: crate::Result<Vec<u8>>| match png {
        Ok(png) => Ok(Some(BASE64_STANDARD.encode(png))),
        Err(e) => Err(Failure::of(&e)),
    };
    let heatmap = match asked.heatmap {
        None => None,
        Some(HeatmapKind::Png) => base64(png_bytes(size, ColorType::Rgb, colours.rows()))?,
        Some(HeatmapKind::Grey) => base64(png_bytes(size, ColorType::Grayscale, colours.grey_rows()))?,
    };
    if !asked.keeps() {
        return Ok((heatmap, None, None));
    }
    let image =
        image.ok_or_else(|| Failure::too_large("the image is too large to be drawn; ask for its heatmap alone"))?;
    let overlay = match (asked.overlay, detection.pixel_threshold) {
        (None, _) => None,
        (Some(Png::Png), None) => base64(png_bytes(size, ColorType::Rgb, tinted(&image, &colours)))?,
        (Some(Png::Png), Some(threshold)) => {
            let regions = Regions::of(&detection.pixel_map().map_err(of_the_model)?, threshold, 1);
            base64(png_bytes(size, ColorType::Rgb, outlined(&image, &regions)))?
        }
    };
    let rows = image.pixels.chunks_exact(image.width * image.channels).map(<[u8]>::to_vec);
    let color = if image.channels == 1 { ColorType::Grayscale } else { ColorType::Rgb };
    let image = asked.image.map_or(Ok(None), |_| base64(png_bytes(size, color, rows)))?;
    Ok((heatmap, overlay, image))
}
