//! Connections: so many at a time, none of which holds one up for long, and the end of all of them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_io_timeout::TimeoutStream;

use super::Service;
use super::routes::routes;

/// Bytes of a request's head.
const HEAD: usize = 32 << 10;

/// After which a connection is asked for again where the system had none to give.
const AGAIN: Duration = Duration::from_millis(50);

/// Answers requests until `stop` says so, then those in hand.
pub(super) async fn serve(listener: TcpListener, service: Arc<Service>, mut stop: watch::Receiver<bool>) {
    let options = service.limits.options;
    let connections = Arc::new(Semaphore::new(options.connections));
    let graceful = GracefulShutdown::new();
    let router = TowerToHyperService::new(routes(service.clone()));
    let accept = async {
        loop {
            let Ok(place) = connections.clone().acquire_owned().await else { return };
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(AGAIN).await;
                continue;
            };
            let _ = stream.set_nodelay(true);
            // What is answered is taken within some time, or given up.
            let mut stream = TimeoutStream::new(stream);
            stream.set_write_timeout(Some(options.time));
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(options.time)
                .max_buf_size(HEAD)
                .serve_connection(TokioIo::new(Box::pin(stream)), router.clone());
            let connection = graceful.watch(connection);
            tokio::spawn(async move {
                // Whatever ended it, the next one comes.
                let _ = connection.await;
                drop(place);
            });
        }
    };
    tokio::select! {
        () = accept => {}
        _ = stop.wait_for(|&stop| stop) => {}
    }
    service.is_stopping.store(true, Ordering::Relaxed);
    drop(listener);
    // Who is slow in sending is slow for so long at most, and as long in taking the answer.
    let _ = tokio::time::timeout(3 * options.time, graceful.shutdown()).await;
}
