//! Who comes into the console, and as whom: signing in, sessions, forms, roles, keys and operators.

use crate::{
    access_commands::with_line,
    support::{
        client::{Answer, Client, Content},
        on_both_backends,
        pages::{Pages, encoded, holds},
        server::Server,
    },
};

on_both_backends!(
    strangers_see_the_door,
    sessions_begin_anew_and_end,
    what_a_form_must_prove,
    guesses_are_slowed,
    roles_see_what_is_theirs,
    keys_and_operators_are_made_in_the_console,
    filters_are_kept_for_who_kept_them,
    open_access_is_for_this_machine,
);

pub const PASSWORD: &str = "correct horse battery";

/// Every page that is no page of one thing, and the actions that a stranger would try first.
const PAGES: [&str; 22] = [
    "/",
    "/payments",
    "/payments.csv",
    "/merchants",
    "/withdrawals",
    "/reviews",
    "/ledger",
    "/events",
    "/analytics",
    "/dead-letters",
    "/consumers",
    "/topics",
    "/reconciliation",
    "/idempotency",
    "/audit",
    "/audit.jsonl",
    "/audit/commands",
    "/approvals",
    "/configuration",
    "/keys",
    "/operators",
    "/search?q=x",
];
const ACTIONS: [&str; 8] = [
    "/merchants",
    "/keys",
    "/operators",
    "/views",
    "/theme",
    "/sign-out",
    "/reconciliation",
    "/payments/019a0000-0000-7000-8000-000000000001/complete",
];

pub fn operator(server: &Server, name: &str, role: &str) {
    let made = with_line(server, &["operators", "create", name, "--role", role, "--why", "a test"], PASSWORD);
    assert_eq!(made.code, Some(0), "{}{}", made.stdout, made.stderr);
}

/// From now on whoever comes must say who it is; there is one operator.
fn required(server: &mut Server) {
    operator(server, "anna", "admin");
    server.set("Security__Access", "required");
    server.restart();
}

fn sign_in(client: &Client, headers: &[(&str, &str)], name: &str, password: &str, back: &str) -> Answer {
    let body = format!("name={}&password={}&back={}", encoded(name), encoded(password), encoded(back));
    client.send(
        "POST",
        "/sign-in",
        headers,
        &Content::Bytes("application/x-www-form-urlencoded", body.as_bytes()),
    )
}

fn cookie_of(answer: &Answer) -> String {
    answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned()
}

fn strangers_see_the_door(server: &mut Server) {
    required(server);
    let pages = Pages::of(server);
    for path in PAGES {
        let answer = pages.get(path).expect(303);
        let led = answer.header("location").unwrap();
        assert!(led.starts_with("/sign-in?back="), "{path} leads to {led}");
        assert!(!answer.text.contains("<table"), "{path}");
    }
    for path in ACTIONS {
        pages.post(path, &[("csrf", ""), ("reason", "x"), ("once", "1")]).expect(401);
    }
    // What moves by itself does not lead a script to a page.
    let live =
        server.operations().send("GET", "/live", &[("Accept", "text/event-stream")], &Content::Nothing);
    live.expect(401);
    holds(&pages.page("/sign-in"), &["name=\"password\""]);
    assert!(!pages.page("/sign-in").contains("/sign-out"));
    // Machines are let in: they see numbers of the program alone.
    server.operations().get("/health/ready").expect(200);
    server.operations().get("/metrics").expect(200);
    let forged = [("Cookie", "fintech_session=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")];
    server.operations().send("GET", "/payments", &forged, &Content::Nothing).expect(303);
}

/// A session planted in the browser is not taken over; a session ends where it should.
fn sessions_begin_anew_and_end(server: &mut Server) {
    required(server);
    let client = server.operations();
    let planted = [("Cookie", "fintech_session=planted")];
    let answer = sign_in(&client, &planted, "Anna", PASSWORD, "/payments?status=Failed").expect(303);
    assert_eq!(answer.header("location"), Some("/payments?status=Failed"));
    let set = answer.header("set-cookie").unwrap().to_owned();
    assert!(
        set.contains("; HttpOnly") && set.contains("; SameSite=Strict") && set.contains("Path=/"),
        "{set}"
    );
    let first = cookie_of(&answer);
    assert_ne!(first, "fintech_session=planted");
    client.send("GET", "/payments", &planted, &Content::Nothing).expect(303);
    client.send("GET", "/payments", &[("Cookie", &first)], &Content::Nothing).expect(200);

    // Signing in again in the same browser ends the session that it had.
    let second = cookie_of(&sign_in(&client, &[("Cookie", &first)], "anna", PASSWORD, "/").expect(303));
    client.send("GET", "/payments", &[("Cookie", &first)], &Content::Nothing).expect(303);

    // Off this machine the cookie is for encrypted connections only; nobody is sent to another site.
    let host = [("Host", "console.example")];
    let away = sign_in(&client, &host, "anna", PASSWORD, "https://evil.example/").expect(303);
    assert!(away.header("set-cookie").unwrap().contains("; Secure"));
    for back in ["//evil.example", "/\\evil.example", "javascript:alert(1)"] {
        let answer = sign_in(&client, &[], "anna", PASSWORD, back).expect(303);
        assert_eq!(answer.header("location"), Some("/"), "{back}");
    }

    let other = Pages::signed_in(server, "anna", PASSWORD);
    other.send("/", "/sign-out", &[]).expect(303);
    assert_eq!(other.get("/payments").status, 303);

    // A new password ends them all.
    client.send("GET", "/payments", &[("Cookie", &second)], &Content::Nothing).expect(200);
    let arguments = ["operators", "password", "anna", "--why", "leaked"];
    assert_eq!(with_line(server, &arguments, "another horse battery").code, Some(0));
    client.send("GET", "/payments", &[("Cookie", &second)], &Content::Nothing).expect(303);
    sign_in(&client, &[], "anna", PASSWORD, "/").expect(401);
    sign_in(&client, &[], "anna", "another horse battery", "/").expect(303);
}

fn what_a_form_must_prove(server: &mut Server) {
    required(server);
    let anna = Pages::signed_in(server, "anna", PASSWORD);
    operator(server, "otto", "admin");
    let otto = Pages::signed_in(server, "otto", PASSWORD);
    let token = |pages: &Pages| -> String {
        let hidden = pages.hidden("/merchants", "/merchants");
        hidden.into_iter().find(|(name, _)| name == "csrf").unwrap().1
    };
    let shop = |csrf: &str| {
        [
            ("csrf", csrf.to_owned()),
            ("once", "1".to_owned()),
            ("name", "S".to_owned()),
            ("email", "s@s.com".to_owned()),
        ]
    };
    let post = |pages: &Pages, csrf: &str| {
        let fields = shop(csrf);
        pages.post("/merchants", &fields.each_ref().map(|(name, value)| (*name, value.as_str())))
    };
    for wrong in ["", "x", &token(&otto)] {
        holds(&post(&anna, wrong).expect(403).text, &["Nothing was changed"]);
    }
    assert_eq!(server.query("select count(*) from merchants"), ["0"]);
    post(&anna, &token(&anna)).expect(303);
    assert_eq!(server.query("select count(*) from merchants"), ["1"]);
    assert_ne!(token(&anna), token(&otto));

    // A session's cookie that another site makes the browser send.
    let client = server.operations();
    let cookie = cookie_of(&sign_in(&client, &[], "anna", PASSWORD, "/").expect(303));
    let body = Content::Bytes("application/x-www-form-urlencoded", b"theme=dark");
    for foreign in [("Origin", "https://evil.example"), ("Sec-Fetch-Site", "cross-site"), ("Origin", "null")]
    {
        client.send("POST", "/theme", &[("Cookie", &cookie), foreign], &body).expect(403);
    }
}

/// Guessing is slowed, by the account and by the address, and never says whether a name is known.
fn guesses_are_slowed(server: &mut Server) {
    required(server);
    let client = server.operations();
    let unknown = sign_in(&client, &[], "nobody", "wrong wrong wrong", "/").expect(401);
    let known = sign_in(&client, &[], "anna", "wrong wrong wrong", "/").expect(401);
    let refusal = |answer: &Answer| {
        let (_, text) = answer.text.split_once("role=\"alert\">").unwrap();
        text.split('<').next().unwrap().to_owned()
    };
    assert_eq!(refusal(&unknown), refusal(&known));
    assert!(known.header("set-cookie").is_none());
    let statuses: Vec<u16> =
        (0..20).map(|_| sign_in(&client, &[], "anna", "wrong wrong wrong", "/").status).collect();
    assert!(statuses.contains(&429), "{statuses:?}");
    assert!(!server.log().contains("wrong wrong wrong"));
}

fn roles_see_what_is_theirs(server: &mut Server) {
    required(server);
    for (name, role) in [("vera", "viewer"), ("sven", "support"), ("fred", "finance")] {
        operator(server, name, role);
    }
    let [vera, sven, fred, anna] =
        ["vera", "sven", "fred", "anna"].map(|name| Pages::signed_in(server, name, PASSWORD));
    for path in ["/keys", "/operators", "/configuration"] {
        for pages in [&vera, &sven, &fred] {
            holds(&pages.get(path).expect(403).text, &["may not do this"]);
            assert!(!pages.page("/").contains(&format!("href=\"{path}\"")), "{path}");
        }
        anna.page(path);
        assert!(anna.page("/").contains(&format!("href=\"{path}\"")));
    }
    assert_eq!([&vera, &sven, &fred].map(|pages| pages.get("/audit").status), [403, 403, 200]);
    assert_eq!([&vera, &sven, &fred].map(|pages| pages.get("/payments.csv").status), [403, 200, 200]);

    // A role that changes counts in the session that there is.
    assert_eq!(server.run(&["operators", "role", "sven", "finance", "--why", "moved"]).code, Some(0));
    sven.page("/audit");
    assert_eq!(server.run(&["operators", "disable", "sven", "--why", "left"]).code, Some(0));
    sven.get("/").expect(303);
}

/// A key is shown once, works, and is refused from the moment it is revoked; the audit says who did it.
fn keys_and_operators_are_made_in_the_console(server: &mut Server) {
    required(server);
    let anna = Pages::signed_in(server, "anna", PASSWORD);
    let fields =
        [("name", "<b>shop</b>"), ("role", "write"), ("kind", "live"), ("days", "30"), ("reason", "a shop")];
    let made = anna.send("/keys", "/keys", &fields).expect(200).text;
    let (_, secret) = made.split_once("<code>fk_live_").unwrap();
    let secret = format!("fk_live_{}", secret.split('<').next().unwrap());
    let bearer = format!("Bearer {secret}");
    let list = || server.send("GET", "/api/merchants", &[("Authorization", &bearer)], &Content::Nothing);
    list().expect(200);
    let page = anna.page("/keys");
    assert!(!page.contains(&secret) && !page.contains("<b>shop"));
    holds(&page, &[&secret[..12], "&#60;b&#62;shop", "active"]);
    assert!(server.query("select hash from api_keys").iter().all(|hash| !hash.contains(&secret[8..])));

    let (_, action) = page.split_once("action=\"/keys/").unwrap();
    let action = format!("/keys/{}", action.split('"').next().unwrap());
    anna.done("/keys", &action, &[("reason", "lost")]);
    list().expect(401);
    holds(&anna.page("/keys"), &["revoked"]);

    let fields = [("name", "Berta"), ("role", "viewer"), ("password", "short"), ("reason", "new here")];
    holds(&anna.send("/operators", "/operators", &fields).expect(409).text, &["12", "Nothing was changed"]);
    let fields = [("name", "Berta"), ("role", "viewer"), ("password", PASSWORD), ("reason", "new here")];
    anna.done("/operators", "/operators", &fields);
    Pages::signed_in(server, "berta", PASSWORD).page("/");
    let refused = anna.send("/operators", "/operators/anna/disable", &[("reason", "oops")]).expect(409).text;
    holds(&refused, &["last active operator who is an admin"]);

    let audit = anna.page("/audit");
    holds(
        &audit,
        &["operator anna", "key.create", "key.revoke", "operator.create", "a shop", "lost", "new here"],
    );
    assert!(!audit.contains(PASSWORD) && !audit.contains(&secret));
    let lines = anna.get("/audit.jsonl?action=key.").expect(200).text;
    let lines: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert!(
        lines.iter().all(|line| line["requestId"].is_string() && line["actor"] == "operator anna"),
        "{lines:?}"
    );
    holds(&anna.page("/audit"), &["console.export"]);
    // Commands of the console are named, too.
    anna.done("/merchants", "/merchants", &[("name", "S"), ("email", "s@example.com")]);
    holds(&anna.page("/audit/commands"), &["operator anna", "MerchantCreated"]);
}

fn filters_are_kept_for_who_kept_them(server: &mut Server) {
    required(server);
    operator(server, "vera", "viewer");
    let [anna, vera] = ["anna", "vera"].map(|name| Pages::signed_in(server, name, PASSWORD));
    let query = "status=Failed&search=%3Cb%3E";
    anna.send(&format!("/payments?{query}&after=1.019a00000000700080000000000000aa"), "/views", &[])
        .expect(400);
    let page = format!("/payments?{query}");
    let hidden = anna.hidden(&page, "/views");
    assert!(hidden.contains(&("query".to_owned(), query.replace('&', "&#38;"))), "{hidden:?}");
    let csrf = &hidden.iter().find(|(name, _)| name == "csrf").unwrap().1;
    let fields =
        [("csrf", csrf.as_str()), ("list", "/payments"), ("query", query), ("name", "what <failed>")];
    anna.post("/views", &fields).expect(303);
    holds(&anna.page("/payments"), &["what &#60;failed&#62;", "Views (1)"]);
    assert!(!vera.page("/payments").contains("what &#60;failed"));
    let fields =
        [("csrf", csrf.as_str()), ("list", "/payments"), ("name", "what <failed>"), ("forget", "yes")];
    anna.post("/views", &fields).expect(303);
    assert!(!anna.page("/payments").contains("what &#60;failed"));
    let fields = [("csrf", csrf.as_str()), ("list", "https://evil.example"), ("query", ""), ("name", "x")];
    anna.post("/views", &fields).expect(400);
}

/// With open access another site must not reach this machine's console by a name of its own, nor frame it, nor run anything.
fn open_access_is_for_this_machine(server: &mut Server) {
    let client = server.operations();
    client.send("GET", "/payments", &[("Host", "evil.example:8080")], &Content::Nothing).expect(421);
    let answer = client.get("/payments").expect(200);
    holds(&answer.text, &["Open access"]);
    let policy = answer.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(answer.header("x-frame-options"), Some("DENY"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert!(
        !answer.text.contains("<script>")
            && !answer.text.contains("style=\"")
            && !answer.text.contains("onclick")
    );
    client.get("/nothing/here").expect(404);
    let body = Content::Bytes("application/x-www-form-urlencoded", b"name=S&email=s%40s.com&once=1");
    client.send("POST", "/merchants", &[], &body).expect(403);
    let json = Content::Bytes("text/plain", b"name=S&email=s%40s.com&once=1");
    client.send("POST", "/merchants", &[], &json).expect(400);
    assert_eq!(server.query("select count(*) from merchants"), ["0"]);
}
