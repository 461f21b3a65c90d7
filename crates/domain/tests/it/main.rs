//! The domain as its callers see it: commands in, events or refusals out.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod life;
mod transitions;

use domain::{
    bank::BankNumber,
    command::{Action, Command, NewPayment, NewWithdrawal},
    currency::Currency,
    decide::decide,
    event::Event,
    id::{CommandId, MerchantId, PaymentId, WithdrawalId},
    lane::Lane,
    ledger::Entry,
    money::AmountMinor,
    payment::CompletedBy,
    refusal::Refusal,
    state::{Outcome, State},
    time::Timestamp,
};
use uuid::Uuid;

pub const LANE: Lane = Lane(3);

/// A lane in memory: decides, folds, and keeps what happened.
#[derive(Default)]
pub struct World {
    pub state: State,
    pub events: Vec<Event>,
    pub entries: Vec<Entry>,
    commands: u128,
}

impl World {
    pub fn now(&self) -> Timestamp {
        Timestamp::from_micros(1_795_435_200_000_000 + i64::try_from(self.commands).unwrap())
    }

    pub fn run(&mut self, merchant_id: MerchantId, action: Action) -> Result<Outcome, Refusal> {
        self.commands += 1;
        // Far enough apart that the numbered ids of two commands never meet.
        let id = Uuid::from_u128(0x019a_0000_0000_7000_8000_0000_0000_0000 + self.commands * 0x1_0000);
        let command = Command { id: CommandId(id), merchant_id, action };
        let decision = decide(&self.state, &command, LANE, self.now())?;
        for event in decision.events {
            self.entries.extend(self.state.apply(LANE, &event).unwrap());
            self.events.push(event);
        }
        Ok(self.state.outcome(&decision.subject).unwrap())
    }

    pub fn merchant(&mut self, number: u128) -> MerchantId {
        let id = MerchantId(Uuid::from_u128(number));
        let action =
            Action::CreateMerchant { name: "Shop".to_owned(), email: format!("{number}@example.com") };
        self.run(id, action).unwrap();
        id
    }

    pub fn pay(&mut self, merchant: MerchantId, minor: i64) -> PaymentId {
        let payment = NewPayment {
            amount: amount(minor),
            currency: usd(),
            external_reference: None,
            description: None,
        };
        match self.run(merchant, Action::CreatePayments(vec![payment])).unwrap() {
            Outcome::Payments(payments) => payments[0].id,
            other => panic!("{other:?}"),
        }
    }

    pub fn complete(&mut self, merchant: MerchantId, payment_id: PaymentId) -> Result<Outcome, Refusal> {
        self.run(merchant, Action::CompletePayment { payment_id, completed_by: CompletedBy::Manual })
    }

    pub fn refund(
        &mut self,
        merchant: MerchantId,
        payment_id: PaymentId,
        minor: Option<i64>,
    ) -> Result<Outcome, Refusal> {
        self.run(merchant, Action::RefundPayment { payment_id, amount: minor.map(amount), reason: None })
    }

    pub fn withdraw(&mut self, merchant: MerchantId, minor: i64) -> Result<WithdrawalId, Refusal> {
        let request = NewWithdrawal {
            amount: amount(minor),
            currency: usd(),
            bank_account: BankNumber::parse("99887766554433221100").unwrap(),
            bank_routing: BankNumber::parse("021000021").unwrap(),
        };
        match self.run(merchant, Action::RequestWithdrawal(request))? {
            Outcome::Withdrawal(withdrawal) => Ok(withdrawal.id),
            other => panic!("{other:?}"),
        }
    }
}

pub fn usd() -> Currency {
    Currency::parse("USD").unwrap()
}

pub fn amount(minor: i64) -> AmountMinor {
    AmountMinor::new(minor).unwrap()
}
