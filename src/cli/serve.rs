//! `fcdd serve`

use std::io::{ErrorKind, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;

use super::Outcome;
use super::common::{DeviceArg, end, memory_size, on_interrupt, print_lines};
use super::terminal::log;
use crate::error::{Error, Result};
use crate::files;
use crate::serve::models::ServedModel;
use crate::serve::{LimitOptions, ServeOptions, Server};

/// Bytes of a token's file that are read: more than a header may have.
const LONGEST_TOKEN: u64 = 4096;

/// Score images that programs send by HTTP, and those that people drop on a page in their browser
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Folders of runs, or model files
    #[arg(required = true, value_name = "RUN|MODEL")]
    models: Vec<PathBuf>,
    /// Name of a model in addresses, once for each in their order [default: its folder's name]
    #[arg(long, value_name = "NAME")]
    name: Vec<String>,
    /// Where to listen; port 0 takes any free one. Other addresses than this machine's own take a --token-file
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS:PORT")]
    bind: SocketAddr,
    /// File with a token on its first line, which requests have to bring in the header Authorization: Bearer TOKEN
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Save what people say of images on the page, in DIR/NAME: folders that `fcdd train DIR/NAME --labelled train` takes
    #[arg(long, value_name = "DIR")]
    answers: Option<PathBuf>,
    /// Milliseconds that an image waits for others on their way, to be scored together; scores do not depend on it
    #[arg(long, default_value_t = 5, value_name = "MS")]
    wait_ms: u16,
    /// Images in hand at most, of all requests; more are refused with status 429
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    queue: u16,
    /// Size of a request at most, such as 500M; a larger one is refused with status 413
    #[arg(long, default_value = "64M", value_name = "SIZE", value_parser = memory_size)]
    max_body: usize,
    /// Seconds in which a request has to come, and its answer to be taken; slower ones are refused with status 408
    #[arg(long, default_value_t = 30, value_name = "SECONDS", value_parser = clap::value_parser!(u16).range(1..))]
    timeout: u16,
    /// Connections at a time; others wait
    #[arg(long, default_value_t = 256, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,
    #[command(flatten)]
    device: DeviceArg,
}

pub(super) fn run(args: Args) -> Result<Outcome> {
    let Args { models, name: names, bind, token_file, answers, wait_ms, queue, max_body, timeout, connections, device } =
        args;
    if !names.is_empty() && names.len() != models.len() {
        let problem = format!("{} names for {} models", names.len(), models.len());
        return Err(Error::setting(problem, "give `name` once for each model, in their order, or not at all"));
    }
    let token = token_file.as_deref().map(token).transpose()?;
    let limits = LimitOptions {
        body: max_body,
        time: Duration::from_secs(timeout.into()),
        queue: queue.into(),
        connections: connections.into(),
    };
    let device = device.choose()?;
    let wait = Duration::from_millis(wait_ms.into());
    let load = |(i, path): (usize, &PathBuf)| ServedModel::load(path, names.get(i).map(String::as_str), wait, &device);
    let models = models.iter().enumerate().map(load).collect::<Result<Vec<ServedModel>>>()?;
    for model in models.iter().filter(|model| !model.has_threshold()) {
        log(format!(
            "{} has no threshold: images get a score and no verdict, until `fcdd calibrate` sets one by good images",
            model.name()
        ));
    }
    let called = models.iter().map(ServedModel::name).collect::<Vec<_>>().join(", ");
    let server = Server::bind(models, ServeOptions { bind, token, answers, limits })?;
    let (stop, stopped) = watch::channel(false);
    on_interrupt(move || {
        if stop.send_replace(true) {
            end("stopped");
        }
        log("stopping once what is in hand is answered; press Ctrl-C again to stop at once");
    })?;
    print_lines(&format!("serving {called} on http://{}/", server.address()?))?;
    server.run(stopped)?;
    Ok(Outcome::Fine)
}

/// The first line of a file.
fn token(path: &Path) -> Result<String> {
    let mut text = String::new();
    match files::open(path)?.take(LONGEST_TOKEN).read_to_string(&mut text) {
        Err(e) if e.kind() == ErrorKind::InvalidData => {
            let remedy = "write a token of letters, digits and signs on its first line";
            return Err(Error::file(path, "is no text", remedy));
        }
        read => read.map_err(Error::io("read", path))?,
    };
    Ok(text.lines().next().unwrap_or_default().trim().to_string())
}
