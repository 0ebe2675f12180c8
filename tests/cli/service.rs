//! A running `fcdd serve`, and the requests of a client.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use crate::support::Scratch;

/// The program, until it is stopped or this is dropped.
pub struct Served {
    child: Child,
    /// Held open: the program writes there.
    _stdout: BufReader<ChildStdout>,
    pub address: String,
}

/// What was answered.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Served {
    /// Starts it on a free port; what it tells goes to the file `told`.
    pub fn start(scratch: &Scratch, words: &str) -> Served {
        let words = format!("serve {words} --bind 127.0.0.1:0 --device cpu");
        let told = File::create(scratch.path("told")).unwrap();
        Served::of(scratch.command().args(words.split_whitespace()).stderr(told))
    }

    /// The same by a command that starts it.
    pub fn of(command: &mut Command) -> Served {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let address = line.trim().rsplit_once("http://").unwrap_or_else(|| panic!("no address: {line}")).1;
        Served { child, _stdout: stdout, address: address.trim_end_matches('/').to_string() }
    }

    pub fn connect(&self) -> TcpStream {
        TcpStream::connect(&self.address).unwrap()
    }

    /// Sends a request as it stands and reads the answer.
    pub fn send(&self, request: &[u8]) -> Answer {
        let mut stream = self.connect();
        // A service that refuses may not take all of it.
        let _ = stream.write_all(request);
        Answer::read(&mut stream)
    }

    /// A request with more lines in its head.
    pub fn ask(&self, method: &str, path: &str, lines: &[&str], body: &[u8]) -> Answer {
        self.send(&self.request(method, path, lines, body))
    }

    /// Its bytes.
    pub fn request(&self, method: &str, path: &str, lines: &[&str], body: &[u8]) -> Vec<u8> {
        let host = format!("Host: {}", self.address);
        let host = if lines.iter().any(|line| line.starts_with("Host:")) { vec![] } else { vec![host.as_str()] };
        let length = format!("Content-Length: {}", body.len());
        let first = format!("{method} {path} HTTP/1.1");
        let head = [&[first.as_str()], &host[..], &["Connection: close", &length], lines].concat().join("\r\n");
        [head.as_bytes(), b"\r\n\r\n", body].concat()
    }

    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], b"")
    }

    pub fn post(&self, path: &str, body: &[u8]) -> Answer {
        self.ask("POST", path, &[], body)
    }

    /// A form of these files.
    pub fn post_form<N: AsRef<[u8]>>(&self, path: &str, files: &[(N, &[u8])]) -> Answer {
        let parts = files.iter().map(|(name, bytes)| {
            let head = b"--edge\r\nContent-Disposition: form-data; name=\"images\"; filename=\"";
            [head, name.as_ref(), b"\"\r\n\r\n", bytes, b"\r\n"].concat()
        });
        let body = [parts.collect::<Vec<_>>().concat().as_slice(), b"--edge--\r\n"].concat();
        self.ask("POST", path, &["Content-Type: multipart/form-data; boundary=edge"], &body)
    }

    /// Asks it to stop.
    pub fn signal(&self) {
        assert!(Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap().success());
    }

    /// Waits for its end.
    pub fn end(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Answer {
    /// Reads one up to the end of the connection.
    pub fn read(stream: &mut TcpStream) -> Answer {
        let mut bytes = Vec::new();
        // A connection that was reset has been answered before.
        let _ = stream.read_to_end(&mut bytes);
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no answer: {}", String::from_utf8_lossy(&bytes)));
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head, body: bytes[end + 4..].to_vec() }
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// Makes sure that it is an error of this status, which its message explains.
    pub fn expect(&self, status: u16, words: &str) -> &Answer {
        let json = self.json();
        let message = json["error"]["message"].as_str().unwrap_or_default();
        assert_eq!((self.status, json["error"]["status"].as_u64()), (status, Some(status.into())), "{message}");
        assert!(message.contains(words), "'{words}' is not in: {message}");
        self
    }
}
