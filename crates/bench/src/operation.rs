//! One request, before it is known how it will be sent.

use std::fmt::Write as _;

use uuid::Uuid;

use crate::mix::Kind;

/// All that is paid is paid in it.
pub const CURRENCY: &str = "USD";
/// Of every payment, so that its row, its event and its request have the size of a usual one.
pub const EXTERNAL_REFERENCE: &str = "order-1234567";
pub const DESCRIPTION: &str = "A payment for something nice";
pub const BANK_ACCOUNT: &str = "99887766554433221100";
pub const BANK_ROUTING: &str = "021000021";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Where the merchant stands in the books.
    pub merchant: usize,
    pub merchant_id: Uuid,
    /// The idempotency key; of no use to a read.
    pub key: Uuid,
    pub action: Action,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    CreateMerchant {
        email: String,
    },
    /// One payment of each amount; `bulk` sends even one as a list.
    Create {
        amounts_minor: Vec<i64>,
        bulk: bool,
    },
    Complete {
        payment: Uuid,
    },
    Refund {
        payment: Uuid,
        amount_minor: i64,
    },
    Withdraw {
        amount_minor: i64,
    },
    Read {
        payment: Uuid,
    },
    Balance,
    Get {
        path: String,
    },
}

impl Operation {
    pub const fn kind(&self) -> Kind {
        match self.action {
            Action::CreateMerchant { .. } => Kind::Merchant,
            Action::Create { .. } => Kind::Create,
            Action::Complete { .. } => Kind::Complete,
            Action::Refund { .. } => Kind::Refund,
            Action::Withdraw { .. } => Kind::Withdraw,
            Action::Read { .. } => Kind::Read,
            Action::Balance => Kind::Balance,
            Action::Get { .. } => Kind::Get,
        }
    }

    pub const fn method(&self) -> &'static str {
        if self.kind().is_change() { "POST" } else { "GET" }
    }

    pub fn path(&self) -> String {
        let merchant = self.merchant_id;
        match &self.action {
            Action::CreateMerchant { .. } => "/api/merchants".to_owned(),
            Action::Create { bulk: false, .. } => format!("/api/merchants/{merchant}/payments"),
            Action::Create { bulk: true, .. } => format!("/api/merchants/{merchant}/payments/bulk"),
            Action::Complete { payment } => format!("/api/merchants/{merchant}/payments/{payment}/complete"),
            Action::Refund { payment, .. } => format!("/api/merchants/{merchant}/payments/{payment}/refund"),
            Action::Withdraw { .. } => format!("/api/merchants/{merchant}/withdrawals"),
            Action::Read { payment } => format!("/api/merchants/{merchant}/payments/{payment}"),
            Action::Balance => format!("/api/merchants/{merchant}/balances"),
            Action::Get { path } => path.clone(),
        }
    }

    /// JSON; empty where nothing is to be said.
    pub fn body(&self) -> String {
        match &self.action {
            Action::CreateMerchant { email } => format!(r#"{{"name":"Bench","email":"{email}"}}"#),
            Action::Create { amounts_minor, bulk } => {
                let mut body = String::with_capacity(160 * amounts_minor.len() + 16);
                if *bulk {
                    body.push_str(r#"{"payments":["#);
                }
                for (number, amount) in amounts_minor.iter().enumerate() {
                    let comma = if number == 0 { "" } else { "," };
                    write!(
                        body,
                        r#"{comma}{{"amountInMinorUnits":{amount},"currency":"{CURRENCY}","externalReference":"{EXTERNAL_REFERENCE}","description":"{DESCRIPTION}"}}"#
                    )
                    .expect("a String takes all that is written");
                }
                if *bulk {
                    body.push_str("]}");
                }
                body
            }
            Action::Refund { amount_minor, .. } => {
                format!(r#"{{"refundAmountInMinorUnits":{amount_minor}}}"#)
            }
            Action::Withdraw { amount_minor } => format!(
                r#"{{"amountInMinorUnits":{amount_minor},"currency":"{CURRENCY}","bankAccountNumber":"{BANK_ACCOUNT}","bankRoutingNumber":"{BANK_ROUTING}"}}"#
            ),
            Action::Complete { .. } | Action::Read { .. } | Action::Balance | Action::Get { .. } => {
                String::new()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(action: Action) -> Operation {
        Operation { merchant: 0, merchant_id: Uuid::nil(), key: Uuid::nil(), action }
    }

    #[test]
    fn a_bulk_is_a_list_and_one_payment_is_none() {
        let one = operation(Action::Create { amounts_minor: vec![5], bulk: false });
        let body: serde_json::Value = serde_json::from_str(&one.body()).unwrap();
        assert_eq!(body["amountInMinorUnits"], 5);
        assert!(one.path().ends_with("/payments"));
        let bulk = operation(Action::Create { amounts_minor: vec![5, 6], bulk: true });
        let body: serde_json::Value = serde_json::from_str(&bulk.body()).unwrap();
        assert_eq!(body["payments"][1]["amountInMinorUnits"], 6);
        assert!(bulk.path().ends_with("/payments/bulk"));
    }

    #[test]
    fn a_read_has_no_body_and_changes_nothing() {
        let read = operation(Action::Read { payment: Uuid::nil() });
        assert_eq!((read.method(), read.body().as_str()), ("GET", ""));
        let complete = operation(Action::Complete { payment: Uuid::nil() });
        assert_eq!((complete.method(), complete.body().as_str()), ("POST", ""));
    }
}
