//! The console as a browser without JavaScript has it: pages, forms with their hidden fields, a cookie.

use super::{
    client::{Answer, Client, Content},
    server::Server,
};

pub struct Pages {
    client: Client,
    cookie: Option<String>,
}

impl Pages {
    pub fn of(server: &Server) -> Self {
        Self { client: server.operations(), cookie: None }
    }

    /// As an operator who has signed in.
    pub fn signed_in(server: &Server, name: &str, password: &str) -> Self {
        let mut pages = Self::of(server);
        let answer = pages.post("/sign-in", &[("name", name), ("password", password)]).expect(303);
        let cookie = answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
        pages.cookie = Some(cookie);
        pages
    }

    pub fn get(&self, path: &str) -> Answer {
        self.client.send("GET", path, &self.headers(), &Content::Nothing)
    }

    /// A page that is there.
    #[track_caller]
    pub fn page(&self, path: &str) -> String {
        let answer = self.get(path).expect(200);
        assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
        answer.text
    }

    pub fn post(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let body: Vec<String> =
            fields.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
        let body = body.join("&");
        let content = Content::Bytes("application/x-www-form-urlencoded", body.as_bytes());
        self.client.send("POST", path, &self.headers(), &content)
    }

    /// The hidden fields of the form on a page that is sent to `action`.
    #[track_caller]
    pub fn hidden(&self, path: &str, action: &str) -> Vec<(String, String)> {
        let page = self.page(path);
        let (_, form) = page
            .split_once(&format!("method=\"post\" action=\"{action}\""))
            .unwrap_or_else(|| panic!("no form for {action} on {path}: {page}"));
        let (form, _) = form.split_once("</form>").unwrap();
        let fields = form.split("<input type=\"hidden\" ").skip(1).map(|field| {
            let mut quoted = field.split('"').skip(1).step_by(2);
            (quoted.next().unwrap().to_owned(), quoted.next().unwrap().to_owned())
        });
        fields.collect()
    }

    /// Fills in a form of a page, and sends it.
    #[track_caller]
    pub fn send(&self, path: &str, action: &str, fields: &[(&str, &str)]) -> Answer {
        let hidden = self.hidden(path, action);
        let hidden = hidden.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        self.post(action, &hidden.chain(fields.iter().copied()).collect::<Vec<_>>())
    }

    /// As [`Self::send`]; gives the page that the answer leads to, and its path without the notice.
    #[track_caller]
    pub fn done(&self, path: &str, action: &str, fields: &[(&str, &str)]) -> (String, String) {
        let answer = self.send(path, action, fields).expect(303);
        let location = answer.header("location").unwrap();
        let page = self.page(location);
        (location.split('?').next().unwrap().to_owned(), page)
    }

    fn headers(&self) -> Vec<(&str, &str)> {
        self.cookie.iter().map(|cookie| ("Cookie", cookie.as_str())).collect()
    }
}

/// A page has all of this in it.
#[track_caller]
pub fn holds(page: &str, words: &[&str]) {
    for word in words {
        assert!(page.contains(word), "no {word} in {page}");
    }
}

/// The ids that a list links to, in its order.
pub fn listed(page: &str, kind: &str) -> Vec<String> {
    let (_, table) = page.split_once("<tbody>").unwrap_or(("", ""));
    let link = format!("<a href=\"/{kind}/");
    let mut ids: Vec<String> =
        table.split(&link).skip(1).map(|link| link.chars().take(36).collect()).collect();
    ids.dedup();
    ids
}

/// Where a list goes on.
pub fn next(page: &str) -> Option<String> {
    let (before, _) = page.split_once("\" rel=\"next\"")?;
    Some(before.rsplit('"').next().unwrap().replace("&#38;", "&").replace("&amp;", "&"))
}

/// As a form encodes it.
pub fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}
