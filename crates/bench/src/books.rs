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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::connection::Verdict;

    fn operation(merchant: usize, action: Action) -> Operation {
        Operation { merchant, merchant_id: Uuid::nil(), key: Uuid::nil(), action }
    }

    fn answer(resources: Vec<Resource>) -> Answer {
        Answer { verdict: Verdict::Ok, status: Some(200), resources, digest: 0, reason: None }
    }

    fn payment(id: u128, amount_minor: i64, status: &str) -> Resource {
        Resource { id: Uuid::from_u128(id), amount_minor, status: status.to_owned() }
    }

    fn enter(books: &mut Books, action: Action, resources: Vec<Resource>) -> Result<(), String> {
        books.enter(&operation(0, action), &answer(resources))
    }

    #[test]
    fn what_was_acknowledged_is_what_must_be_found() {
        let mut books = Books::open(&[Uuid::nil()]);
        let id = Uuid::from_u128;
        let amounts_minor = vec![100, 200, 300, 400];
        let made = (1..).zip(&amounts_minor).map(|(id, amount)| payment(id, *amount, "Pending")).collect();
        enter(&mut books, Action::Create { amounts_minor: amounts_minor.clone(), bulk: true }, made).unwrap();
        for (number, amount) in [(1, 100), (2, 200), (3, 300)] {
            let answered = vec![payment(number, amount, "Completed")];
            enter(&mut books, Action::Complete { payment: id(number) }, answered).unwrap();
        }
        let refund = |payment, amount_minor| Action::Refund { payment, amount_minor };
        enter(&mut books, refund(id(1), 100), vec![payment(1, 100, "Refunded")]).unwrap();
        enter(&mut books, refund(id(2), 50), vec![payment(2, 200, "PartiallyRefunded")]).unwrap();
        enter(&mut books, Action::Withdraw { amount_minor: 300 }, vec![payment(9, 300, "Pending")]).unwrap();
        let mut right = Holdings {
            available_minor: 150,
            pending_minor: 300,
            entries_minor: 150,
            payments: Payments { pending: 1, completed: 1, partially_refunded: 1, refunded: 1, failed: 0 },
        };
        assert_eq!(books.compare(0, &right), []);
        assert_eq!(books.payments(), 4);
        right.available_minor += 1;
        right.payments.pending -= 1;
        let whats: Vec<&str> = books.compare(0, &right).iter().map(|difference| difference.what).collect();
        assert_eq!(whats, ["available balance", "payments", "pending payments"]);
    }

    #[test]
    fn an_answer_that_does_not_fit_is_told_and_not_entered() {
        let mut books = Books::open(&[Uuid::nil()]);
        let one = || Action::Create { amounts_minor: vec![100], bulk: false };
        assert!(enter(&mut books, one(), vec![]).is_err());
        assert!(enter(&mut books, one(), vec![payment(1, 101, "Pending")]).is_err());
        let complete = Action::Complete { payment: Uuid::from_u128(1) };
        assert!(enter(&mut books, complete.clone(), vec![payment(2, 100, "Completed")]).is_err());
        assert!(enter(&mut books, complete, vec![payment(1, 100, "Pending")]).is_err());
        let refund = Action::Refund { payment: Uuid::from_u128(1), amount_minor: 100 };
        assert!(enter(&mut books, refund, vec![payment(1, 100, "PartiallyRefunded")]).is_err());
        assert_eq!(books.payments(), 0);
    }

    proptest! {
        /// Nothing that is off by anything goes unseen.
        #[test]
        fn any_other_figure_differs(created in 1_u64..100, off in 1_i64..1_000_000, which in 0_usize..8) {
            let mut books = Books::open(&[Uuid::nil()]);
            for number in 1..=created {
                let made = vec![payment(number.into(), 7, "Pending")];
                enter(&mut books, Action::Create { amounts_minor: vec![7], bulk: false }, made).unwrap();
            }
            let mut found = Holdings {
                payments: Payments { pending: created, ..Payments::default() },
                ..Holdings::default()
            };
            prop_assert_eq!(books.compare(0, &found), vec![]);
            let count = off.unsigned_abs();
            match which {
                0 => found.available_minor -= off,
                1 => found.pending_minor += off,
                2 => found.entries_minor += i128::from(off),
                3 => found.payments.pending += count,
                4 => found.payments.completed += count,
                5 => found.payments.partially_refunded += count,
                6 => found.payments.refunded += count,
                _ => found.payments.failed += count,
            }
            prop_assert!(!books.compare(0, &found).is_empty());
        }
    }
}
