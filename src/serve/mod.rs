//! `fcdd serve`: models behind HTTP, and a page for people.
//!
//! | file | holds |
//! | --- | --- |
//! | `models` | the models that are served, and their names |
//! | `queue` | images that arrive together share a batch |
//! | `limits` | what requests may take: bytes, time, places, memory |
//! | `access` | who is let in: tokens, hosts, origins |
//! | `detect` | `POST /v1/models/NAME/detect` |
//! | `answers` | `POST /v1/models/NAME/answers`: what people say of images, as a folder to train on |
//! | `page` | the page at `/` |
//! | `routes` | which request goes where |
//! | `failure` | errors as JSON with their status |
//! | `listen` | connections, and the end of them |

mod access;
mod answers;
mod detect;
mod failure;
mod limits;
mod listen;
pub(crate) mod models;
mod page;
mod queue;
mod routes;

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::sync::watch;

use crate::error::{Error, Result};
use access::Access;
use answers::Answers;
use limits::Limits;
use models::{Models, ServedModel};

/// How models are served.
pub(crate) struct ServeOptions {
    pub bind: SocketAddr,
    /// What requests have to bring along.
    pub token: Option<String>,
    /// Where answers are saved, if they are.
    pub answers: Option<PathBuf>,
    pub limits: LimitOptions,
}

/// What requests may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LimitOptions {
    /// Bytes of a request's body.
    pub body: usize,
    /// In which a request has to come, and an answer to be taken.
    pub time: Duration,
    /// Images in hand.
    pub queue: usize,
    pub connections: usize,
}

/// What all requests share.
struct Service {
    models: Models,
    access: Access,
    limits: Limits,
    answers: Option<Answers>,
    is_stopping: AtomicBool,
}

/// A service that is bound to its address, and not yet run.
pub(crate) struct Server {
    listener: TcpListener,
    service: Arc<Service>,
}

impl Server {
    /// Takes the address; requests wait until [`Server::run`].
    ///
    /// # Errors
    /// An address that is taken, or that others reach where there is no token; a folder for answers that cannot be made, or
    /// that another service saves in.
    pub(crate) fn bind(models: Vec<ServedModel>, options: ServeOptions) -> Result<Server> {
        let ServeOptions { bind, token, answers, limits } = options;
        let access = Access::new(bind, token)?;
        let answers = answers.as_deref().map(Answers::new).transpose()?;
        let listen = || {
            let listener = TcpListener::bind(bind)?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        let listener = listen().map_err(|e: std::io::Error| {
            Error::setting(format!("cannot listen on {bind} ({e})"), "choose another address or port with `bind`")
        })?;
        let is_stopping = AtomicBool::new(false);
        let service =
            Service { models: Models::new(models)?, access, limits: Limits::new(limits), answers, is_stopping };
        Ok(Server { listener, service: Arc::new(service) })
    }

    /// Where it listens: the port too, where that was left open.
    pub(crate) fn address(&self) -> Result<SocketAddr> {
        self.listener.local_addr().map_err(|e| Error::setting(format!("the address is gone ({e})"), "start it again"))
    }

    /// Answers requests until `stop` says so, and then those that are in hand.
    pub(crate) fn run(self, stop: watch::Receiver<bool>) -> Result<()> {
        let started = |e| {
            let problem = format!("cannot start the threads of the service ({e})");
            Error::setting(problem, "allow this process more threads (`ulimit -u`, `pids.max`)")
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .max_blocking_threads(rayon::current_num_threads() + 1)
            .enable_all()
            .build()
            .map_err(started)?;
        let Server { listener, service } = self;
        let ended = runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).map_err(started)?;
            listen::serve(listener, service, stop).await;
            Ok(())
        });
        // What nobody waits for any more is not waited for either.
        runtime.shutdown_background();
        ended
    }
}
