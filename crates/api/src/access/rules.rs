//! Who may ask for what: one line an operation. An operation without a line is refused to everybody; a test walks the
//! routes and the documentation, so that there is none.

use ::access::{Caller, Role};
use axum::http::{HeaderValue, Method};
use domain::id::MerchantId;

use Reach::{Merchants, Platform, Public};

/// Whose keys an operation takes, and from which role on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Asks for nothing.
    Public,
    /// A merchant's key for what belongs to that merchant, and the platform's keys for all of it.
    Merchants(Role),
    /// The platform's keys.
    Platform(Role),
}

#[rustfmt::skip] // A table is read by its lines.
pub const RULES: &[(Method, &str, Reach)] = &[
    (Method::POST,  "/api/merchants", Platform(Role::Write)),
    (Method::GET,   "/api/merchants", Platform(Role::Read)),
    (Method::GET,   "/api/merchants/{merchantId}", Merchants(Role::Read)),
    (Method::PATCH, "/api/merchants/{merchantId}", Platform(Role::Write)),
    (Method::GET,   "/api/merchants/{merchantId}/balances", Merchants(Role::Read)),
    (Method::GET,   "/api/merchants/{merchantId}/balances/{currency}", Merchants(Role::Read)),
    (Method::POST,  "/api/merchants/{merchantId}/payments", Merchants(Role::Write)),
    (Method::GET,   "/api/merchants/{merchantId}/payments", Merchants(Role::Read)),
    (Method::POST,  "/api/merchants/{merchantId}/payments/bulk", Merchants(Role::Write)),
    (Method::GET,   "/api/merchants/{merchantId}/payments/export", Merchants(Role::Read)),
    (Method::GET,   "/api/merchants/{merchantId}/payments/{paymentId}", Merchants(Role::Read)),
    (Method::POST,  "/api/merchants/{merchantId}/payments/{paymentId}/complete", Merchants(Role::Write)),
    (Method::POST,  "/api/merchants/{merchantId}/payments/{paymentId}/cancel", Merchants(Role::Write)),
    (Method::POST,  "/api/merchants/{merchantId}/payments/{paymentId}/refund", Merchants(Role::Write)),
    (Method::POST,  "/api/merchants/{merchantId}/withdrawals", Merchants(Role::Write)),
    (Method::GET,   "/api/merchants/{merchantId}/withdrawals", Merchants(Role::Read)),
    (Method::GET,   "/api/merchants/{merchantId}/withdrawals/{withdrawalId}", Merchants(Role::Read)),
    (Method::POST,  "/api/merchants/{merchantId}/withdrawals/{withdrawalId}/process", Platform(Role::Operate)),
    (Method::POST,  "/api/merchants/{merchantId}/withdrawals/{withdrawalId}/complete", Platform(Role::Operate)),
    (Method::POST,  "/api/merchants/{merchantId}/withdrawals/{withdrawalId}/fail", Platform(Role::Operate)),
    (Method::POST,  "/api/merchants/{merchantId}/withdrawals/{withdrawalId}/cancel", Merchants(Role::Write)),
    (Method::GET,   "/api/merchants/{merchantId}/analytics", Merchants(Role::Read)),
    (Method::GET,   "/api/merchants/{merchantId}/events/stream", Merchants(Role::Read)),
    (Method::GET,   "/api/admin/verify-balance/{merchantId}", Platform(Role::Operate)),
    (Method::GET,   "/api/admin/ledger-history/{merchantId}", Platform(Role::Operate)),
    (Method::GET,   "/health", Public),
    (Method::GET,   "/health/live", Public),
    (Method::GET,   "/health/ready", Public),
    (Method::GET,   "/openapi.json", Public),
    (Method::GET,   "/docs", Public),
    (Method::GET,   "/docs/", Public),
    (Method::GET,   "/docs/{*rest}", Public),
    (Method::GET,   "/docs/problems", Public),
];

/// What stands in a path where it names a merchant.
const MERCHANT: &str = "{merchantId}";

/// What the table says of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    Of(Reach),
    /// The path has lines, none of them for this method.
    OtherMethods,
    None,
}

/// `path` as the route has it, with its parameters in braces.
pub fn rule(method: &Method, path: &str) -> Rule {
    // Whoever may read may ask what reading would give.
    let method = if *method == Method::HEAD { &Method::GET } else { method };
    let mut otherwise = Rule::None;
    for (of_method, of_path, reach) in RULES {
        if *of_path == path {
            if of_method == method {
                return Rule::Of(*reach);
            }
            otherwise = Rule::OtherMethods;
        }
    }
    otherwise
}

/// The methods of a path, for the header `Allow`.
pub fn allowed(path: &str) -> HeaderValue {
    let methods = RULES.iter().filter(|(_, of_path, _)| *of_path == path).map(|(method, ..)| method.as_str());
    let methods = methods.map(|method| if method == "GET" { "GET,HEAD" } else { method });
    let methods: Vec<&str> = methods.collect();
    HeaderValue::from_str(&methods.join(",")).expect("methods are visible ASCII")
}

/// Why a caller may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// It is the platform's, or another merchant's; whether there is such a merchant is not said.
    NotYours,
    RoleTooLow(Role),
}

impl Reach {
    /// `template` and `path` are those of the request: with its parameters in braces, and as it was sent.
    pub fn check(self, caller: &Caller, template: &str, path: &str) -> Result<(), Denied> {
        let (is_reached, role) = match self {
            Public => return Ok(()),
            Platform(role) => (caller.scope.merchant().is_none(), role),
            Merchants(role) => {
                (caller.scope.merchant().is_none_or(|own| merchant_in(template, path) == Some(own)), role)
            }
        };
        if !is_reached {
            return Err(Denied::NotYours);
        }
        if caller.role < role {
            return Err(Denied::RoleTooLow(role));
        }
        Ok(())
    }
}

/// The merchant that a path names. One that is written with `%` is none: only what every reader of the path takes for the
/// same merchant counts.
fn merchant_in(template: &str, path: &str) -> Option<MerchantId> {
    let mut segments = template.split('/').zip(path.split('/'));
    let (_, id) = segments.find(|(name, _)| *name == MERCHANT)?;
    id.parse().ok()
}

#[cfg(test)]
mod tests {
    use ::access::Scope;
    use uuid::Uuid;

    use super::*;
    use crate::router;

    const OWN: &str = "018f3f5e-0000-7000-8000-000000000001";
    const OTHER: &str = "018f3f5e-0000-7000-8000-000000000002";
    const PAYMENTS: &str = "/api/merchants/{merchantId}/payments";

    fn caller(scope: Scope, role: Role) -> Caller {
        Caller { name: "test".to_owned(), scope, role }
    }

    fn merchant(role: Role) -> Caller {
        caller(Scope::Merchant(MerchantId(Uuid::parse_str(OWN).unwrap())), role)
    }

    /// Both ways: no operation without a rule, and no rule for what does not exist.
    #[test]
    fn every_operation_of_the_api_has_a_rule() {
        let document = serde_json::to_value(router::documented().into_openapi()).unwrap();
        let mut documented = Vec::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for method in item.as_object().unwrap().keys() {
                let method: Method = method.to_uppercase().parse().unwrap();
                assert!(matches!(rule(&method, path), Rule::Of(_)), "{method} {path}");
                documented.push((method, path.clone()));
            }
        }
        for (method, path, reach) in RULES {
            let is_documented = documented.contains(&(method.clone(), (*path).to_owned()));
            let is_page = *path == "/openapi.json" || path.starts_with("/docs");
            assert!(is_documented || is_page, "{method} {path}");
            let is_api = path.starts_with("/api/");
            assert_eq!(is_api, *reach != Public, "{method} {path}");
            if let Merchants(_) = reach {
                assert!(path.contains(MERCHANT), "{method} {path}");
            }
        }
        for (number, (method, path, _)) in RULES.iter().enumerate() {
            let again = RULES[..number].iter().any(|(m, p, _)| (m, p) == (method, path));
            assert!(!again, "two rules for {method} {path}");
        }
    }

    #[test]
    fn a_method_without_a_rule_is_refused_with_those_that_have_one() {
        assert_eq!(rule(&Method::HEAD, PAYMENTS), rule(&Method::GET, PAYMENTS));
        assert_eq!(rule(&Method::DELETE, PAYMENTS), Rule::OtherMethods);
        assert_eq!(allowed(PAYMENTS), "POST,GET,HEAD");
        assert_eq!(rule(&Method::GET, "/api/new"), Rule::None);
    }

    #[test]
    fn a_merchants_key_reaches_its_own_merchant_only() {
        let reach = Merchants(Role::Read);
        let of = |caller: &Caller, id: &str| {
            reach.check(caller, PAYMENTS, &format!("/api/merchants/{id}/payments"))
        };
        assert_eq!(of(&merchant(Role::Read), OWN), Ok(()));
        assert_eq!(of(&merchant(Role::Admin), OWN), Ok(()));
        let encoded = format!("%30{}", &OWN[1..]);
        for id in [OTHER, &encoded, "nobody", "", "%2e%2e", &format!("{OWN}%2f..%2f{OTHER}")] {
            assert_eq!(of(&merchant(Role::Admin), id), Err(Denied::NotYours), "{id}");
            assert_eq!(of(&caller(Scope::Platform, Role::Read), id), Ok(()), "{id}");
        }
        let path = format!("/api/admin/verify-balance/{OWN}");
        let denied = Platform(Role::Operate).check(
            &merchant(Role::Admin),
            "/api/admin/verify-balance/{merchantId}",
            &path,
        );
        assert_eq!(denied, Err(Denied::NotYours));
    }

    #[test]
    fn a_role_includes_those_before_it() {
        let path = format!("/api/merchants/{OWN}/payments");
        for (number, needed) in Role::ALL.into_iter().enumerate() {
            for (own, has) in Role::ALL.into_iter().enumerate() {
                let wanted = if own >= number { Ok(()) } else { Err(Denied::RoleTooLow(needed)) };
                assert_eq!(Merchants(needed).check(&merchant(has), PAYMENTS, &path), wanted);
                assert_eq!(Platform(needed).check(&caller(Scope::Platform, has), PAYMENTS, &path), wanted);
            }
        }
    }
}
