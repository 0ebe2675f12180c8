//! Who is let in. With a token, whoever brings it; without one, programs of this machine: not pages of others in a browser on it, which
//! it would let speak to this address too.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};

use super::failure::Failure;
use crate::error::{Error, Result};

/// Characters of a token, at least: what others cannot try out.
const LEAST: usize = 16;

/// What every answer says to a browser: nothing of it is kept, framed, guessed at or loaded from elsewhere.
pub(super) const HEADERS: [(header::HeaderName, HeaderValue); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
             form-action 'none'; frame-ancestors 'none'",
        ),
    ),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
];

/// By what requests are let in.
pub(super) enum Access {
    Token(String),
    ThisMachine,
}

impl Access {
    /// For a service at this address.
    ///
    /// # Errors
    /// An address that other machines reach where there is no token; a token that is too short, or cannot stand in a header.
    pub(super) fn new(bind: SocketAddr, token: Option<String>) -> Result<Access> {
        match token {
            None if bind.ip().is_loopback() => Ok(Access::ThisMachine),
            None => Err(Error::setting(
                format!("other machines can reach `bind` {bind}"),
                "name a file that holds a token with `token_file`, or bind to 127.0.0.1",
            )),
            Some(token) if token.len() < LEAST || !token.bytes().all(|byte| byte.is_ascii_graphic()) => {
                let problem =
                    format!("a token of {} characters, or of others than letters, digits and signs", token.len());
                let remedy =
                    format!("write {LEAST} characters or more on one line, such as those of `openssl rand -hex 32`");
                Err(Error::setting(problem, remedy))
            }
            Some(token) => Ok(Access::Token(token)),
        }
    }

    /// Whether a token is asked for.
    pub(super) fn wants_token(&self) -> bool {
        matches!(self, Access::Token(_))
    }

    /// Refuses what a page of another site has sent, or a site that took the name of this machine.
    pub(super) fn check_site(&self, headers: &HeaderMap) -> Result<(), Failure> {
        if self.wants_token() {
            return Ok(());
        }
        if headers.get_all(header::HOST).iter().count() > 1 {
            return Err(Failure::bad("a request has one header Host"));
        }
        let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or_default());
        let host = text(header::HOST).unwrap_or_default();
        if !names_this_machine(host) {
            let message =
                "this service answers to localhost and 127.0.0.1; to reach it by other names, start it with a token";
            return Err(Failure::new(StatusCode::MISDIRECTED_REQUEST, message));
        }
        match text(header::ORIGIN) {
            Some(origin) if origin.strip_prefix("http://") != Some(host) => {
                Err(Failure::new(StatusCode::FORBIDDEN, "pages of other sites are not answered"))
            }
            _ => Ok(()),
        }
    }

    /// Refuses who does not bring the token.
    pub(super) fn check_token(&self, headers: &HeaderMap) -> Result<(), Failure> {
        let Access::Token(token) = self else { return Ok(()) };
        let brought = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
        let brought = brought.and_then(|value| {
            let (scheme, token) = value.split_at_checked(b"Bearer ".len())?;
            scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
        });
        match brought {
            Some(brought) if is_same(brought, token.as_bytes()) => Ok(()),
            _ => Err(Failure::new(
                StatusCode::UNAUTHORIZED,
                "this service asks for its token, in the header Authorization: Bearer TOKEN",
            )),
        }
    }
}

/// Whether a Host header names this machine as itself.
fn names_this_machine(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || address.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// Whether two secrets are the same, in a time that does not tell where they differ.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    let differences = a.iter().zip(b).fold(0, |differences, (a, b)| std::hint::black_box(differences | (a ^ b)));
    a.len() == b.len() && differences == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(of: &[(header::HeaderName, &'static str)]) -> HeaderMap {
        of.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn other_machines_take_a_token_that_is_long_enough() {
        let (here, open) = ("127.0.0.1:8080".parse().unwrap(), "0.0.0.0:8080".parse().unwrap());
        assert!(Access::new(here, None).is_ok() && Access::new("[::1]:80".parse().unwrap(), None).is_ok());
        let said = |bind, token: Option<&str>| Access::new(bind, token.map(str::to_string)).err().unwrap().to_string();
        assert!(said(open, None).contains("`token_file`"));
        for token in ["", "fifteen letters", "sixteen letters and spaces", "sechzehn Zeichen ü"] {
            assert!(said(here, Some(token)).contains("16 characters"), "{token}");
        }
        let access = Access::new(open, Some("0123456789abcdef".into())).unwrap();
        let brought = |value| access.check_token(&headers(&[(header::AUTHORIZATION, value)])).is_ok();
        assert!(brought("Bearer 0123456789abcdef") && brought("bearer 0123456789abcdef"));
        for value in ["Bearer 0123456789abcdeX", "Bearer 0123456789abcdef0", "Bearer ", "0123456789abcdef", "Basic x"] {
            assert!(!brought(value), "{value}");
        }
        assert!(access.check_token(&HeaderMap::new()).is_err());
        access
            .check_site(&headers(&[(header::HOST, "camera.example"), (header::ORIGIN, "https://camera.example")]))
            .unwrap();
    }

    #[test]
    fn pages_of_other_sites_are_not_answered() {
        let access = Access::ThisMachine;
        let asked = |host, origin: Option<&'static str>| {
            let origin = origin.map(|origin| (header::ORIGIN, origin));
            let all: Vec<_> = std::iter::once((header::HOST, host)).chain(origin).collect();
            access.check_site(&headers(&all)).map_err(|refused| refused.told())
        };
        for host in ["localhost", "LocalHost:8080", "127.0.0.1:80", "127.1.2.3", "[::1]:8080", "[::1]"] {
            asked(host, None).unwrap();
        }
        for host in [
            "",
            "evil.example",
            "evil.example:8080",
            "192.168.0.7:8080",
            "localhost.evil.example",
            "[::2]:80",
            "127.0.0.1.nip.io",
        ] {
            asked(host, None).unwrap_err();
        }
        asked("localhost:8080", Some("http://localhost:8080")).unwrap();
        for origin in
            ["http://evil.example", "http://localhost:8081", "https://localhost:8080", "null", "http://127.0.0.1:8080"]
        {
            asked("localhost:8080", Some(origin)).unwrap_err();
        }
        access.check_site(&HeaderMap::new()).unwrap_err();
    }
}
