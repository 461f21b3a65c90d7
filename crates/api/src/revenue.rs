//! Figures about payments, from their totals by day. Amounts of different currencies are never added.

use std::collections::BTreeMap;

use domain::{currency::Currency, payment::PaymentStatus, time::Timestamp};
use store::queries::DayTotal;

use crate::decimal::divide_half_even;

/// Two decimals of a percentage.
pub const PERCENT_SCALE: u8 = 2;

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// What was paid and not refunded.
    pub revenue_minor: i128,
    pub payments: i64,
    /// Completed and not wholly refunded.
    pub completed: i64,
    pub pending: i64,
    /// Wholly refunded.
    pub refunded: i64,
    /// Of all that was ever completed, before refunds; zero if nothing was.
    pub average_minor: i128,
    /// How many of all were ever completed, in hundredths of a per cent.
    pub success_rate: i128,
    pub days: Vec<Day>,
    pub statuses: Vec<StatusShare>,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Day {
    /// Midnight UTC at which it begins.
    pub begin: Timestamp,
    pub revenue_minor: i128,
    pub payments: i64,
}

#[derive(Debug, PartialEq, Eq)]
pub struct StatusShare {
    pub status: PaymentStatus,
    pub payments: i64,
    /// In hundredths of a per cent.
    pub share: i128,
}

/// The currencies of the totals, the one with most payments first.
pub fn currencies(totals: &[DayTotal]) -> Vec<Currency> {
    let mut payments: BTreeMap<Currency, i64> = BTreeMap::new();
    for total in totals {
        *payments.entry(total.currency).or_default() += total.payments;
    }
    let mut currencies: Vec<(Currency, i64)> = payments.into_iter().collect();
    currencies.sort_by_key(|(_, payments)| std::cmp::Reverse(*payments));
    currencies.into_iter().map(|(currency, _)| currency).collect()
}

/// The figures of one currency.
pub fn figures(totals: &[DayTotal], currency: Currency) -> Figures {
    let mut figures = Figures::default();
    let mut paid_minor = 0;
    let mut days: BTreeMap<Timestamp, (i128, i64)> = BTreeMap::new();
    let mut statuses: BTreeMap<PaymentStatus, i64> = BTreeMap::new();
    for total in totals.iter().filter(|total| total.currency == currency) {
        let day = days.entry(total.day).or_default();
        day.1 += total.payments;
        *statuses.entry(total.status).or_default() += total.payments;
        figures.payments += total.payments;
        match total.status {
            PaymentStatus::Pending => figures.pending += total.payments,
            PaymentStatus::Failed => {}
            PaymentStatus::Completed | PaymentStatus::PartiallyRefunded => {
                figures.completed += total.payments;
            }
            PaymentStatus::Refunded => figures.refunded += total.payments,
        }
        if !matches!(total.status, PaymentStatus::Pending | PaymentStatus::Failed) {
            paid_minor += total.amount_minor;
            day.0 += total.amount_minor - total.refunded_minor;
            figures.revenue_minor += total.amount_minor - total.refunded_minor;
        }
    }
    let succeeded = figures.completed + figures.refunded;
    figures.average_minor =
        if succeeded == 0 { 0 } else { divide_half_even(paid_minor, i128::from(succeeded)) };
    figures.success_rate = percentage(succeeded, figures.payments);
    figures.days = days
        .into_iter()
        .map(|(begin, (revenue_minor, payments))| Day { begin, revenue_minor, payments })
        .collect();
    figures.statuses = statuses
        .into_iter()
        .map(|(status, payments)| StatusShare {
            status,
            payments,
            share: percentage(payments, figures.payments),
        })
        .collect();
    figures
}

/// In hundredths of a per cent; nothing of nothing is nothing.
fn percentage(part: i64, whole: i64) -> i128 {
    let scale = 100 * 10_i128.pow(u32::from(PERCENT_SCALE));
    if whole == 0 { 0 } else { divide_half_even(i128::from(part) * scale, i128::from(whole)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn total(
        day: i64,
        currency: &str,
        status: PaymentStatus,
        payments: i64,
        amount: i128,
        refunded: i128,
    ) -> DayTotal {
        DayTotal {
            day: Timestamp::from_micros(day * 86_400_000_000),
            currency: Currency::parse(currency).unwrap(),
            status,
            payments,
            amount_minor: amount,
            refunded_minor: refunded,
        }
    }

    #[test]
    fn revenue_is_what_was_paid_and_not_refunded() {
        let totals = [
            total(1, "USD", PaymentStatus::Pending, 1, 700, 0),
            total(1, "USD", PaymentStatus::Completed, 2, 300, 0),
            total(2, "USD", PaymentStatus::PartiallyRefunded, 1, 100, 40),
            total(2, "USD", PaymentStatus::Refunded, 1, 101, 101),
            total(2, "USD", PaymentStatus::Failed, 1, 900, 0),
            total(2, "JPY", PaymentStatus::Completed, 9, 1_000_000, 0),
        ];
        let usd = Currency::parse("USD").unwrap();
        let figures = figures(&totals, usd);
        assert_eq!(figures.revenue_minor, 360);
        assert_eq!((figures.payments, figures.completed, figures.pending, figures.refunded), (6, 3, 1, 1));
        // (300 + 100 + 101) / 4
        assert_eq!(figures.average_minor, 125);
        assert_eq!(figures.success_rate, 6667);
        let days: Vec<(i128, i64)> =
            figures.days.iter().map(|day| (day.revenue_minor, day.payments)).collect();
        assert_eq!(days, [(300, 3), (60, 3)]);
        assert_eq!(figures.statuses.len(), 5);
        assert_eq!(currencies(&totals)[0].code(), "JPY");
    }

    #[test]
    fn nothing_has_figures_too() {
        assert_eq!(figures(&[], Currency::parse("USD").unwrap()), Figures::default());
        assert!(currencies(&[]).is_empty());
    }
}
