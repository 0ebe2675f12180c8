//! The page at `/`: its files are part of the program.

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::routing::get;

use super::Service;

/// Where a file is found, what it is, and its text.
const FILES: [(&str, &str, &str); 6] = [
    ("/", "text/html; charset=utf-8", include_str!("page/index.html")),
    ("/page.css", "text/css; charset=utf-8", include_str!("page/page.css")),
    ("/page.js", "text/javascript; charset=utf-8", include_str!("page/page.js")),
    ("/drawing.js", "text/javascript; charset=utf-8", include_str!("page/drawing.js")),
    ("/service.js", "text/javascript; charset=utf-8", include_str!("page/service.js")),
    ("/icon.svg", "image/svg+xml", include_str!("page/icon.svg")),
];

pub(super) fn routes() -> Router<Arc<Service>> {
    FILES.into_iter().fold(Router::new(), |router, (path, kind, text)| {
        router.route(path, get(async move || ([(header::CONTENT_TYPE, HeaderValue::from_static(kind))], text)))
    })
}
