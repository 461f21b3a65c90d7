//! HTTP as a caller has it: every status is an answer.

use serde_json::Value;
use ureq::{
    Agent,
    http::{HeaderMap, Request},
};

use super::PATIENCE;

#[derive(Clone)]
pub struct Client {
    agent: Agent,
    base: String,
}

#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
    /// Null when the body is not JSON.
    pub json: Value,
}

/// What a request carries.
pub enum Content<'a> {
    Nothing,
    Json(&'a Value),
    Bytes(&'a str, &'a [u8]),
}

impl Client {
    pub fn new(base: &str) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(PATIENCE))
            .build();
        Self { agent: config.new_agent(), base: base.to_owned() }
    }

    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], &Content::Nothing)
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, &[], &Content::Json(body))
    }

    /// Without a body, as `curl -X POST` sends it.
    pub fn post_empty(&self, path: &str) -> Answer {
        self.send("POST", path, &[], &Content::Nothing)
    }

    pub fn patch(&self, path: &str, body: &Value) -> Answer {
        self.send("PATCH", path, &[], &Content::Json(body))
    }

    pub fn post_with_key(&self, path: &str, key: &str, body: &Value) -> Answer {
        self.send("POST", path, &[("Idempotency-Key", key)], &Content::Json(body))
    }

    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], content: &Content<'_>) -> Answer {
        self.try_send(method, path, headers, content)
            .unwrap_or_else(|error| panic!("{method} {path} was not answered: {error}"))
    }

    /// An error when there was no answer: the server is gone, or went while it was asked.
    pub fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        content: &Content<'_>,
    ) -> Result<Answer, ureq::Error> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut response = match content {
            Content::Nothing => self.agent.run(request.body(()).unwrap())?,
            Content::Json(json) => {
                let request = request.header("Content-Type", "application/json");
                self.agent.run(request.body(json.to_string()).unwrap())?
            }
            Content::Bytes(content_type, bytes) => {
                let request = request.header("Content-Type", *content_type);
                self.agent.run(request.body(*bytes).unwrap())?
            }
        };
        let bytes = response.body_mut().with_config().limit(64 * 1024 * 1024).read_to_vec()?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Ok(Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            json: serde_json::from_str(&text).unwrap_or(Value::Null),
            text,
        })
    }
}

impl Answer {
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    #[track_caller]
    pub fn id(&self) -> String {
        self.string("id")
    }

    #[track_caller]
    pub fn string(&self, member: &str) -> String {
        let text = self.json[member].as_str();
        text.unwrap_or_else(|| panic!("no text {member} in {}", self.text)).to_owned()
    }

    #[track_caller]
    pub fn integer(&self, member: &str) -> i64 {
        let number = self.json[member].as_i64();
        number.unwrap_or_else(|| panic!("no integer {member} in {}", self.text))
    }

    #[track_caller]
    pub fn list(&self) -> &[Value] {
        self.json.as_array().unwrap_or_else(|| panic!("not a list: {}", self.text))
    }

    /// The members that every error has, by RFC 9457 and for older clients; gives the code.
    #[track_caller]
    pub fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{}", self.text);
        for member in ["type", "title", "detail", "error", "code"] {
            assert!(!self.string(member).is_empty(), "{member} is empty in {}", self.text);
        }
        assert_eq!(self.json["error"], self.json["detail"]);
        assert_eq!(self.json["status"], self.status, "{}", self.text);
        self.string("code")
    }

    /// The JSON pointers of the fields that are told to be wrong.
    pub fn wrong_fields(&self) -> Vec<String> {
        let errors = self.json["errors"].as_array().cloned().unwrap_or_default();
        errors.iter().filter_map(|error| error["pointer"].as_str().map(str::to_owned)).collect()
    }
}
