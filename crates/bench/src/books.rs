//! What was acknowledged, merchant by merchant, in our own words: after the load the platform must say the same.

use serde::Serialize;
use uuid::Uuid;

use crate::{
    connection::{Answer, Holdings, Payments, Resource},
    operation::{Action, Operation},
};

/// Differences that are told one by one; more are only counted.
pub const DIFFERENCES_SHOWN_MAX: usize = 100;

#[derive(Debug, Default)]
pub struct Books {
    merchants: Vec<Account>,
}

#[derive(Debug, Default)]
struct Account {
    id: Uuid,
    payments: Payments,
    available_minor: i64,
    pending_minor: i64,
}

/// The platform says something else than it has acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    pub merchant_id: Uuid,
    pub what: &'static str,
    pub acknowledged: i128,
    pub found: i128,
}

impl Books {
    pub fn open(merchants: &[Uuid]) -> Self {
        let account = |id: &Uuid| Account { id: *id, ..Account::default() };
        Self { merchants: merchants.iter().map(account).collect() }
    }

    pub fn merchants(&self) -> impl Iterator<Item = Uuid> {
        self.merchants.iter().map(|account| account.id)
    }

    pub fn payments(&self) -> u64 {
        self.merchants.iter().map(|account| count(&account.payments)).sum()
    }

    /// Enters a change that was acknowledged, once; an answer that does not fit what was asked is an error, a sentence.
    pub fn enter(&mut self, operation: &Operation, answer: &Answer) -> Result<(), String> {
        let resources = &answer.resources;
        let fits = match &operation.action {
            Action::Create { amounts_minor, .. } => {
                resources.len() == amounts_minor.len()
                    && resources.iter().zip(amounts_minor).all(|(found, asked)| found.amount_minor == *asked)
            }
            Action::Complete { payment } => {
                matches!(resources.as_slice(), [one] if one.id == *payment && one.status == "Completed")
            }
            Action::Refund { payment, amount_minor } => {
                matches!(resources.as_slice(), [one] if one.id == *payment
                    && one.status == if *amount_minor == one.amount_minor { "Refunded" } else { "PartiallyRefunded" })
            }
            Action::Withdraw { amount_minor } => {
                matches!(resources.as_slice(), [one] if one.amount_minor == *amount_minor)
            }
            Action::CreateMerchant { .. } | Action::Read { .. } | Action::Balance | Action::Get { .. } => {
                return Ok(());
            }
        };
        if !fits {
            return Err(format!("{:?} was answered with {resources:?}", operation.action));
        }
        let account =
            self.merchants.get_mut(operation.merchant).ok_or("a merchant that is not in the books")?;
        account.enter(&operation.action, resources);
        Ok(())
    }

    /// What differs from what the platform says of the merchant with this index.
    pub fn compare(&self, index: usize, found: &Holdings) -> Vec<Difference> {
        let Some(account) = self.merchants.get(index) else { return Vec::new() };
        let pairs: [(&'static str, i128, i128); 9] = [
            ("available balance", account.available_minor.into(), found.available_minor.into()),
            ("sum of the available account's entries", account.available_minor.into(), found.entries_minor),
            ("pending balance", account.pending_minor.into(), found.pending_minor.into()),
            ("payments", count(&account.payments).into(), count(&found.payments).into()),
            ("pending payments", account.payments.pending.into(), found.payments.pending.into()),
            ("completed payments", account.payments.completed.into(), found.payments.completed.into()),
            (
                "partially refunded payments",
                account.payments.partially_refunded.into(),
                found.payments.partially_refunded.into(),
            ),
            ("refunded payments", account.payments.refunded.into(), found.payments.refunded.into()),
            ("failed payments", account.payments.failed.into(), found.payments.failed.into()),
        ];
        let differing = pairs.into_iter().filter(|(_, acknowledged, found)| acknowledged != found);
        let difference =
            |(what, acknowledged, found)| Difference { merchant_id: account.id, what, acknowledged, found };
        differing.map(difference).collect()
    }
}

impl Account {
    fn enter(&mut self, action: &Action, resources: &[Resource]) {
        let payments = &mut self.payments;
        match action {
            Action::Create { amounts_minor, .. } => payments.pending += amounts_minor.len() as u64,
            Action::Complete { .. } => {
                payments.pending -= 1;
                payments.completed += 1;
                self.available_minor += resources.iter().map(|one| one.amount_minor).sum::<i64>();
            }
            // Each payment is refunded once.
            Action::Refund { amount_minor, .. } => {
                payments.completed -= 1;
                let is_whole = resources.iter().all(|one| one.amount_minor == *amount_minor);
                *(if is_whole { &mut payments.refunded } else { &mut payments.partially_refunded }) += 1;
                self.available_minor -= amount_minor;
            }
            Action::Withdraw { amount_minor } => {
                self.available_minor -= amount_minor;
                self.pending_minor += amount_minor;
            }
            Action::CreateMerchant { .. } | Action::Read { .. } | Action::Balance | Action::Get { .. } => {}
        }
    }
}

const fn count(payments: &Payments) -> u64 {
    let Payments { pending, completed, partially_refunded, refunded, failed } = *payments;
    pending + completed + partially_refunded + refunded + failed
}
