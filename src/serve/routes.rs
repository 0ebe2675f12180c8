//! Which request goes where.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Serialize;

use super::Service;
use super::failure::{Failure, json};
use super::models::About;
use super::{access, answers, detect, page};

/// What a service can do.
#[derive(Serialize)]
struct Offered<'a> {
    models: Vec<&'a About>,
    /// Whether answers are saved.
    answers: bool,
    /// Bytes of a request, and images in hand, at most.
    max_body: usize,
    queue: usize,
}

/// All routes.
pub(super) fn routes(service: Arc<Service>) -> Router {
    let models = Router::new()
        .route("/", get(models))
        .route("/{name}/detect", post(detect::detect))
        .route("/{name}/answers", post(answers::answer))
        .layer(from_fn_with_state(service.clone(), with_token));
    Router::new()
        .nest("/v1/models", models)
        .route("/healthz", get(health))
        .merge(page::routes())
        .fallback(async || Failure::new(StatusCode::NOT_FOUND, "there is nothing at this address"))
        .method_not_allowed_fallback(async || {
            Failure::new(StatusCode::METHOD_NOT_ALLOWED, "this address takes other methods: see the header Allow")
        })
        // Bodies are read by `Limits`.
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state(service.clone(), let_in))
        .with_state(service)
}

async fn models(State(service): State<Arc<Service>>) -> Response {
    let Service { models, answers, limits, .. } = &*service;
    let (max_body, queue) = (limits.options.body, limits.options.queue);
    json(&Offered { models: models.about(), answers: answers.is_some(), max_body, queue })
}

async fn health() -> Response {
    #[derive(Serialize)]
    struct Health {
        status: &'static str,
    }
    json(&Health { status: "ok" })
}

/// Lets in whom this service is for, and adds what browsers are to know.
async fn let_in(State(service): State<Arc<Service>>, request: Request, next: Next) -> Response {
    let refused = match service.is_stopping.load(Ordering::Relaxed) {
        true => Err(Failure::stopping()),
        false => service.access.check_site(request.headers()),
    };
    let mut response = match refused {
        Ok(()) => next.run(request).await,
        Err(failure) => failure.into_response(),
    };
    response.headers_mut().extend(access::HEADERS);
    response
}

async fn with_token(State(service): State<Arc<Service>>, request: Request, next: Next) -> Response {
    match service.access.check_token(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(failure) => failure.into_response(),
    }
}
