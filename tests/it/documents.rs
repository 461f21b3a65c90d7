//! What describes the API: the OpenAPI document, its page, the page of problems; and headers that any
//! answer has.

use crate::support::{
    backend::Kind,
    client::{Client, Content},
    server::Server,
};

/// Each operation of the document exists: with made-up ids the answer is about the id or the body, never
/// that there is nothing there.
#[test]
fn every_documented_operation_exists() {
    let server = Server::start(Kind::Sqlite);
    let document = server.get("/openapi.json").expect(200);
    assert_eq!(document.json["openapi"], "3.1.0");
    let paths = document.json["paths"].as_object().unwrap();
    let mut operations = 0;
    for (path, item) in paths {
        let path = path.replace("{currency}", "USD");
        let path = ["{merchantId}", "{paymentId}", "{withdrawalId}"]
            .iter()
            .fold(path, |path, name| path.replace(name, &uuid::Uuid::new_v4().to_string()));
        for method in item.as_object().unwrap().keys() {
            let answer = server.send(&method.to_uppercase(), &path, &[], &Content::Nothing);
            assert_ne!(answer.status, 405, "{method} {path}");
            assert!(!answer.text.contains("route_not_found"), "{method} {path}");
            operations += 1;
        }
    }
    assert!(operations >= 27, "{operations}");
}

/// A machine without a network shows it all.
#[test]
fn the_documentation_page_loads_nothing_from_elsewhere() {
    let server = Server::start(Kind::Sqlite);
    let page = server.get("/docs/").expect(200).text;
    let references: Vec<&str> =
        page.split(['"', '\'']).filter(|part| part.starts_with("./") || part.contains("//")).collect();
    assert!(references.len() >= 4, "{page}");
    for reference in references {
        let file = reference.strip_prefix("./").unwrap_or_else(|| panic!("{reference} is elsewhere"));
        server.get(&format!("/docs/{file}")).expect(200);
    }
    assert!(server.get("/docs/swagger-initializer.js").expect(200).text.contains("/openapi.json"));
}

#[test]
fn an_error_leads_to_its_description() {
    let server = Server::start(Kind::Sqlite);
    let refused = server.get("/api/merchants?limit=0").expect(400);
    let kind = refused.string("type");
    let (page, code) = kind.split_once('#').unwrap();
    assert!(server.get(page).expect(200).text.contains(&format!("id=\"{code}\"")));
}

#[test]
fn a_request_id_comes_back_and_stands_in_the_problem() {
    let server = Server::start(Kind::Sqlite);
    let ask = |client: &Client, id: &str| {
        client.send("GET", "/nowhere", &[("X-Request-Id", id)], &Content::Nothing)
    };
    let answer = ask(&server, "from-the-proxy-1");
    assert_eq!(answer.header("x-request-id"), Some("from-the-proxy-1"));
    assert_eq!(answer.string("requestId"), "from-the-proxy-1");
    let made = server.get("/health/live").expect(200).header("x-request-id").map(str::to_owned);
    assert!(made.is_some_and(|id| uuid::Uuid::parse_str(&id).is_ok()));
}
