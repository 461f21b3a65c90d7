//! The console's pages of the event system, over HTTP, as a browser without JavaScript has them.

mod consumers;
mod dead_letters;
mod home;
mod kafka;
mod messages;
mod rights;
mod runs;

use crate::support::{
    client::{Answer, Client, Content},
    server::Server,
};

/// What nobody may be able to smuggle into a page.
const MARKUP: &str = r#"<script>alert(1)</script>"'<img src=x onerror=alert(2)>"#;

/// Somebody in front of the console.
struct Visitor {
    client: Client,
    cookie: String,
}

impl Visitor {
    fn new(server: &Server) -> Self {
        Self { client: server.operations(), cookie: String::new() }
    }

    fn get(&self, path: &str) -> Answer {
        self.client.send("GET", path, &[("Cookie", &self.cookie)], &Content::Nothing)
    }

    /// A page that is there, and holds nothing of [`MARKUP`] as markup.
    #[track_caller]
    fn page(&self, path: &str) -> String {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        for injected in ["<script>alert", "<img src=x", "onerror=alert(2)>\""] {
            assert!(!answer.text.contains(injected), "{path} holds {injected}");
        }
        answer.text
    }

    /// Sends the form of a page to `action`, with what is hidden in it and these fields.
    #[track_caller]
    fn send(&self, page: &str, action: &str, fields: &[(&str, &str)]) -> Answer {
        let mut all = hidden(&self.page(page), action);
        all.extend(fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        self.post(action, &all)
    }

    fn post(&self, path: &str, fields: &[(String, String)]) -> Answer {
        let pairs: Vec<String> =
            fields.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
        let content = Content::Bytes("application/x-www-form-urlencoded", &pairs.join("&").into_bytes());
        self.client.send("POST", path, &[("Cookie", &self.cookie)], &content)
    }
}

/// Every byte but those that never need it.
fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// The hidden fields of the form that goes to `action`.
#[track_caller]
fn hidden(page: &str, action: &str) -> Vec<(String, String)> {
    let begin = page.find(&format!("method=\"post\" action=\"{action}\""));
    let form = &page[begin.unwrap_or_else(|| panic!("no form goes to {action} in {page}"))..];
    let form = &form[..form.find("</form>").unwrap()];
    let field =
        |text: &str| Some((text.split_once('"')?.0.to_owned(), between(text, "value=\"", "\"")?.to_owned()));
    form.split("<input type=\"hidden\" name=\"").skip(1).filter_map(field).collect()
}

fn between<'a>(text: &'a str, begin: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(begin)?;
    rest.split_once(end).map(|(found, _)| found)
}

/// All that stands between two texts, each time.
fn all_between<'a>(text: &'a str, begin: &str, end: &str) -> Vec<&'a str> {
    text.split(begin).skip(1).filter_map(|rest| rest.split_once(end).map(|(found, _)| found)).collect()
}

/// The page that an answer leads to.
#[track_caller]
fn led_to(answer: &Answer) -> String {
    assert_eq!(answer.status, 303, "{}", answer.text);
    answer.header("location").unwrap().to_owned()
}

/// The link to the next page of a list, as it is in the address.
fn next_page(page: &str) -> Option<String> {
    let link = page
        .split("<a href=\"")
        .find(|link| link.split_once('>').is_some_and(|(tag, _)| tag.ends_with("rel=\"next\"")))?;
    link.split_once('"').map(|(href, _)| href.replace("&amp;", "&").replace("&#38;", "&"))
}
