//! The OpenAPI 3.1 document, put together from the handlers. What is the same for all operations is
//! added here: the parameters of the path, the idempotency key and the problems.

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};
use store::request::IDEMPOTENCY_KEY_CHARS_MAX;
use utoipa::OpenApi;

use crate::{
    access::rules::{self, Reach, Rule},
    problem::{FieldError, ProblemBody},
    router,
    state::App,
};

pub const PATH: &str = "/openapi.json";
/// Of security, as the document calls it.
const SCHEME: &str = "apiKey";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "FintechPlatform",
        description = "Payments, refunds, withdrawals and balances of merchants. Amounts are integers in minor \
                       units; every error is a problem of RFC 9457 and names every wrong field; a POST or PATCH \
                       with an Idempotency-Key can be repeated safely. Where access is open, as on a developer's \
                       machine, requests need no key.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    tags(
        (name = "Merchants"), (name = "Balances"), (name = "Payments"), (name = "Withdrawals"),
        (name = "Analytics"), (name = "Events"), (name = "Admin"), (name = "Health")
    ),
    components(schemas(ProblemBody<'static>, FieldError))
)]
struct Head;

/// What the document says about the API as a whole.
pub fn head() -> utoipa::openapi::OpenApi {
    Head::openapi()
}

/// The whole document, as it is served at [`PATH`].
pub fn openapi_json() -> Vec<u8> {
    serde_json::to_vec(&document()).expect("a JSON value is always writable")
}

pub async fn show(State(app): State<App>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], app.openapi()).into_response()
}

fn document() -> Value {
    let described = router::documented().into_openapi();
    let mut document = serde_json::to_value(described).expect("a description is made of texts and numbers");
    for (path, item) in members(&mut document["paths"]) {
        let in_path: Vec<Value> = path
            .split('/')
            .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
            .map(path_parameter)
            .collect();
        for (method, operation) in members(item) {
            let mut parameters = in_path.clone();
            if matches!(method.as_str(), "post" | "patch") {
                parameters.push(idempotency_key());
            }
            if let Some(own) = operation["parameters"].as_array_mut() {
                parameters.append(own);
            }
            operation["parameters"] = parameters.into();
            // A body that may be left out is no body of null.
            if let Some(schema) = operation.pointer_mut("/requestBody/content/application~1json/schema")
                && let Some(body) = schema.pointer("/oneOf/0").cloned()
            {
                *schema = body;
            }
            describe_access(operation, method, path);
            if path.starts_with("/api/") {
                operation["responses"]["4XX"] = problem("The request is refused and nothing was changed");
                operation["responses"]["5XX"] =
                    problem("The detail says whether anything may have been changed");
            }
        }
    }
    document["components"]["securitySchemes"] = json!({SCHEME: {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "fk_live_ or fk_test_ and 38 letters and digits",
        "description": "An API key. Its role is read, write, operate or admin, each including those before it. A \
                        merchant's key works for that merchant; operations with a role of the platform take its keys \
                        only.",
    }});
    document
}

/// Names the role that an operation needs (of the platform, where no merchant's key will do), and the answers to who may
/// not.
fn describe_access(operation: &mut Value, method: &str, path: &str) {
    let method = method.to_uppercase().parse().unwrap_or_default();
    let role = match rules::rule(&method, path) {
        Rule::Of(Reach::Merchants(role)) => role.name().to_owned(),
        Rule::Of(Reach::Platform(role)) => format!("platform:{role}"),
        Rule::Of(Reach::Public) | Rule::OtherMethods | Rule::None => {
            operation["security"] = json!([]);
            return;
        }
    };
    operation["security"] = json!([{SCHEME: [role]}]);
    let mut answers = [
        (
            "401",
            "No key, or one that does not work",
            json!({"WWW-Authenticate": text("The challenge of RFC 6750")}),
        ),
        ("403", "The key may not do this", json!({"WWW-Authenticate": text("The challenge of RFC 6750")})),
        (
            "429",
            "Too many requests",
            json!({
                "Retry-After": integer("Seconds to wait"),
                "RateLimit-Policy": text("The requests that the key may make: its quota q in a window of w seconds"),
                "RateLimit": text("What is left: r requests; after t seconds the whole quota"),
            }),
        ),
    ];
    for (status, description, headers) in &mut answers {
        let mut answer = problem(description);
        answer["headers"] = headers.take();
        operation["responses"][*status] = answer;
    }
}

fn text(description: &str) -> Value {
    json!({"description": description, "schema": {"type": "string"}})
}

fn integer(description: &str) -> Value {
    json!({"description": description, "schema": {"type": "integer"}})
}

fn members(value: &mut Value) -> impl Iterator<Item = (&String, &mut Value)> {
    value.as_object_mut().map(Map::iter_mut).into_iter().flatten()
}

fn path_parameter(name: &str) -> Value {
    let schema = match name {
        "currency" => json!({"type": "string", "pattern": "^[A-Za-z]{3}$", "examples": ["USD"]}),
        _ => json!({"type": "string", "format": "uuid"}),
    };
    json!({"name": name, "in": "path", "required": true, "schema": schema})
}

fn idempotency_key() -> Value {
    json!({
        "name": "Idempotency-Key",
        "in": "header",
        "description": "Makes repeating the request safe: it takes effect once, and every repetition gets the first \
                        answer, marked Idempotent-Replayed: true. Bare or in double quotes.",
        "schema": {"type": "string", "minLength": 1, "maxLength": IDEMPOTENCY_KEY_CHARS_MAX},
    })
}

fn problem(description: &str) -> Value {
    let schema = json!({"$ref": "#/components/schemas/Problem"});
    json!({"description": description, "content": {"application/problem+json": {"schema": schema}}})
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(target)) = members.get("$ref") {
                    found.insert(target.clone());
                }
                members.values().for_each(|member| references(member, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_leads_somewhere_and_nothing_is_described_in_vain() {
        let document = document();
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let described: BTreeSet<String> =
            schemas.keys().map(|name| format!("#/components/schemas/{name}")).collect();
        assert_eq!(found, described);
        // Two types of one name would silently become one.
        assert_eq!(
            described.iter().map(|name| name.rsplit('/').next().unwrap()).collect::<Vec<_>>(),
            [
                "Analytics",
                "Balance",
                "BalanceCheck",
                "DailyRevenue",
                "FieldError",
                "Health",
                "LedgerEntry",
                "LedgerHistory",
                "Merchant",
                "MerchantUpdate",
                "NewMerchant",
                "NewPayment",
                "NewPayments",
                "NewRefund",
                "NewWithdrawal",
                "Payment",
                "Problem",
                "StatusShare",
                "Withdrawal",
                "WithdrawalCompletion",
                "WithdrawalFailure"
            ]
        );
        assert_eq!(document["openapi"], "3.1.0");
    }

    #[test]
    fn operations_have_ids_of_their_own_and_a_summary() {
        let mut document = document();
        let mut ids = BTreeSet::new();
        for (path, item) in members(&mut document["paths"]) {
            for (method, operation) in members(item) {
                assert!(operation["summary"].is_string(), "{method} {path}");
                assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{method} {path}");
            }
        }
    }
}
