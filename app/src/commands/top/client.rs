//! Requests `/v1/dataflow` of a server.

use std::time::Duration;

use reqwest::{StatusCode, Url, redirect};
use serde::Deserialize;

use super::answer::Answer;
use crate::cli::Top;
use crate::failure::Failure;
use crate::listen::{reachable, resolve};

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The largest answer that is read, in bytes. An operator is described in less than 1 KiB.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// A client of one server.
pub struct Client {
    http: reqwest::Client,
    base: String,
    key: Option<String>,
}

/// The body of an answer that is not a success.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Problem {
    code: String,
    detail: String,
}

impl Client {
    /// A client of the server that the arguments name: by default the API on this machine.
    ///
    /// # Errors
    ///
    /// The address is not a URL, or the file with the key cannot be read.
    pub async fn new(top: &Top) -> Result<Self, Failure> {
        let base = match &top.url {
            Some(url) => url.clone(),
            None => {
                let address = &top.config.api.address;
                if address.port() == 0 {
                    let what = "API_ADDRESS has port 0, so the port of the API is unknown: name \
                                the API with --url";
                    return Err(Failure::new(what));
                }
                let address = reachable(resolve(address, "API_ADDRESS").await?);
                format!("http://{address}")
            }
        };
        let is_url = Url::parse(&base).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
        if !is_url {
            let what = format!("--url {base:?} is not a URL such as http://localhost:7780");
            return Err(Failure::new(what));
        }
        // Fails if another client has already installed the provider, which is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("skytide-top/", env!("CARGO_PKG_VERSION")))
            .timeout(TIMEOUT)
            .redirect(redirect::Policy::none());
        if top.url.is_none() {
            // A proxy cannot reach this machine's own address.
            http = http.no_proxy();
        }
        let http = http
            .build()
            .map_err(|why| Failure::because("cannot make an HTTP client", why))?;
        let key = match &top.key_file {
            Some(file) => {
                let text = std::fs::read_to_string(file).map_err(|why| {
                    Failure::because(format!("cannot read the key in {}", file.display()), why)
                })?;
                Some(text.trim().to_owned())
            }
            None => top.key.clone(),
        };
        Ok(Self {
            http,
            base: base.trim_end_matches('/').to_owned(),
            key: key.filter(|key| !key.is_empty()),
        })
    }

    /// The address of the server.
    pub fn address(&self) -> &str {
        &self.base
    }

    /// Reads the numbers. An error is a sentence for people.
    pub async fn read(&self) -> Result<Answer, String> {
        let mut request = self.http.get(format!("{}/v1/dataflow", self.base));
        if let Some(key) = &self.key {
            request = request.header("X-API-Key", key);
        }
        let no_answer = |why: reqwest::Error| {
            let why = why.without_url();
            let causes = std::iter::successors(std::error::Error::source(&why), |it| it.source());
            let cause = causes
                .last()
                .map_or_else(|| why.to_string(), ToString::to_string);
            format!("no answer from {}: {cause}", self.base)
        };
        let mut response = request.send().await.map_err(no_answer)?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(no_answer)? {
            body.extend_from_slice(&chunk);
            if body.len() > ANSWER_BYTES_MAX {
                return Err(format!("the answer of {} is too large", self.base));
            }
        }
        if status == StatusCode::OK {
            return serde_json::from_slice(&body).map_err(|why| {
                format!("the answer of {} is not that of Skytide: {why}", self.base)
            });
        }
        let problem: Problem = serde_json::from_slice(&body).unwrap_or_default();
        Err(match (status, problem) {
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, problem) => format!(
                "{} refuses the request: {}; set SKYTIDE_KEY or --key-file",
                self.base, problem.detail
            ),
            (_, problem) if !problem.code.is_empty() => problem.detail,
            _ => format!("{} answers with status {status}", self.base),
        })
    }
}
