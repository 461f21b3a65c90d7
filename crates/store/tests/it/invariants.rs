//! Any commands, by several callers at once, with repeats and refusals among them, keep the invariants
//! 1, 2, 3, 6 and 7 of the design, on both back ends.

use domain::{
    bank::BankNumber,
    command::{Action, Command, NewPayment, NewWithdrawal},
    currency::Currency,
    id::{CommandId, MerchantId, PaymentId, WithdrawalId},
    money::{AMOUNT_MINOR_MAX, AmountMinor},
    payment::CompletedBy,
    state::Outcome,
};
use futures_util::future::join_all;
use proptest::prelude::*;
use store::{
    Store,
    error::SubmitError,
    request::{Answer, Claim, Request},
};
use uuid::Uuid;

use crate::{backend::Backend, check};

const MERCHANTS: usize = 3;

/// One call. Numbers choose among what exists when the call is made.
#[derive(Clone, Debug)]
enum Call {
    CreateMerchant { email: u8 },
    SetActive { merchant: usize, is_active: bool },
    CreatePayments { merchant: usize, amounts: Vec<i64>, currency: usize },
    Complete { merchant: usize, payment: usize },
    Cancel { merchant: usize, payment: usize },
    Refund { merchant: usize, payment: usize, amount: Option<i64> },
    Flag { merchant: usize, payment: usize },
    Withdraw { merchant: usize, amount: i64, currency: usize },
    Process { merchant: usize, withdrawal: usize },
    Pay { merchant: usize, withdrawal: usize },
    Fail { merchant: usize, withdrawal: usize },
    Recall { merchant: usize, withdrawal: usize },
}

fn amount() -> impl Strategy<Value = i64> {
    prop_oneof![6 => 1..200_i64, 1 => Just(AMOUNT_MINOR_MAX)]
}

fn call() -> impl Strategy<Value = Call> {
    let m = 0..MERCHANTS;
    let n = 0..12_usize;
    let currency = 0..3_usize;
    prop_oneof![
        1 => (0..4_u8).prop_map(|email| Call::CreateMerchant { email }),
        1 => (m.clone(), any::<bool>())
            .prop_map(|(merchant, is_active)| Call::SetActive { merchant, is_active: is_active || merchant > 0 }),
        6 => (m.clone(), prop::collection::vec(amount(), 1..4), currency.clone())
            .prop_map(|(merchant, amounts, currency)| Call::CreatePayments { merchant, amounts, currency }),
        8 => (m.clone(), n.clone()).prop_map(|(merchant, payment)| Call::Complete { merchant, payment }),
        1 => (m.clone(), n.clone()).prop_map(|(merchant, payment)| Call::Cancel { merchant, payment }),
        4 => (m.clone(), n.clone(), prop::option::of(amount()))
            .prop_map(|(merchant, payment, amount)| Call::Refund { merchant, payment, amount }),
        1 => (m.clone(), n.clone()).prop_map(|(merchant, payment)| Call::Flag { merchant, payment }),
        4 => (m.clone(), amount(), currency)
            .prop_map(|(merchant, amount, currency)| Call::Withdraw { merchant, amount, currency }),
        3 => (m.clone(), n.clone()).prop_map(|(merchant, withdrawal)| Call::Process { merchant, withdrawal }),
        2 => (m.clone(), n.clone()).prop_map(|(merchant, withdrawal)| Call::Pay { merchant, withdrawal }),
        1 => (m.clone(), n.clone()).prop_map(|(merchant, withdrawal)| Call::Fail { merchant, withdrawal }),
        1 => (m, n).prop_map(|(merchant, withdrawal)| Call::Recall { merchant, withdrawal }),
    ]
}

/// Waves of calls; the calls of a wave are made at once. A call may be repeated with its key.
fn waves() -> impl Strategy<Value = Vec<Vec<(Call, usize)>>> {
    prop::collection::vec(prop::collection::vec((call(), 1..4_usize), 1..10), 1..8)
}

/// What the callers have seen.
#[derive(Default)]
pub struct Seen {
    merchants: Vec<MerchantId>,
    payments: Vec<PaymentId>,
    withdrawals: Vec<WithdrawalId>,
    pub answers: Vec<(Request, Answer)>,
}

impl Seen {
    fn merchant(&self, number: usize) -> MerchantId {
        self.merchants[number % self.merchants.len()]
    }

    /// Sometimes of another merchant: then it must not be found.
    fn payment(&self, number: usize) -> PaymentId {
        let unknown = PaymentId(Uuid::from_u128(7));
        if self.payments.is_empty() { unknown } else { self.payments[number % self.payments.len()] }
    }

    fn withdrawal(&self, number: usize) -> WithdrawalId {
        let unknown = WithdrawalId(Uuid::from_u128(7));
        if self.withdrawals.is_empty() { unknown } else { self.withdrawals[number % self.withdrawals.len()] }
    }

    fn request(&self, call: &Call) -> Request {
        let (merchant_id, action) = self.action(call);
        let id = CommandId(Uuid::now_v7());
        let claim = Claim::new(
            "caller",
            &merchant_id.to_string(),
            &id.to_string(),
            &[format!("{call:?}").as_bytes()],
        );
        Request {
            command: Command { id, merchant_id, action },
            claim: Some(claim),
            origin: None,
            trace: None,
        }
    }

    fn action(&self, call: &Call) -> (MerchantId, Action) {
        let currency = |number: usize| Currency::parse(["USD", "JPY", "KWD"][number]).unwrap();
        let minor = |amount: i64| AmountMinor::new(amount).unwrap();
        match call.clone() {
            Call::CreateMerchant { email } => (
                MerchantId(Uuid::now_v7()),
                Action::CreateMerchant { name: "M".to_owned(), email: format!("m{email}@example.com") },
            ),
            Call::SetActive { merchant, is_active } => {
                (self.merchant(merchant), Action::UpdateMerchant { name: None, is_active: Some(is_active) })
            }
            Call::CreatePayments { merchant, amounts, currency: number } => {
                let new = |amount: &i64| NewPayment {
                    amount: minor(*amount),
                    currency: currency(number),
                    external_reference: Some("ref".to_owned()),
                    description: None,
                };
                (self.merchant(merchant), Action::CreatePayments(amounts.iter().map(new).collect()))
            }
            Call::Complete { merchant, payment } => (
                self.merchant(merchant),
                Action::CompletePayment {
                    payment_id: self.payment(payment),
                    completed_by: CompletedBy::Manual,
                },
            ),
            Call::Cancel { merchant, payment } => {
                (self.merchant(merchant), Action::CancelPayment { payment_id: self.payment(payment) })
            }
            Call::Refund { merchant, payment, amount } => (
                self.merchant(merchant),
                Action::RefundPayment {
                    payment_id: self.payment(payment),
                    amount: amount.map(minor),
                    reason: Some("asked for".to_owned()),
                },
            ),
            Call::Flag { merchant, payment } => (
                self.merchant(merchant),
                Action::FlagPayment { payment_id: self.payment(payment), reason: "odd".to_owned() },
            ),
            Call::Withdraw { merchant, amount, currency: number } => (
                self.merchant(merchant),
                Action::RequestWithdrawal(NewWithdrawal {
                    amount: minor(amount),
                    currency: currency(number),
                    bank_account: BankNumber::parse("99887766554433221100").unwrap(),
                    bank_routing: BankNumber::parse("021000021").unwrap(),
                }),
            ),
            Call::Process { merchant, withdrawal } => (
                self.merchant(merchant),
                Action::ProcessWithdrawal { withdrawal_id: self.withdrawal(withdrawal) },
            ),
            Call::Pay { merchant, withdrawal } => (
                self.merchant(merchant),
                Action::CompleteWithdrawal {
                    withdrawal_id: self.withdrawal(withdrawal),
                    external_transaction_id: None,
                },
            ),
            Call::Fail { merchant, withdrawal } => (
                self.merchant(merchant),
                Action::FailWithdrawal {
                    withdrawal_id: self.withdrawal(withdrawal),
                    reason: "returned".to_owned(),
                },
            ),
            Call::Recall { merchant, withdrawal } => (
                self.merchant(merchant),
                Action::CancelWithdrawal { withdrawal_id: self.withdrawal(withdrawal) },
            ),
        }
    }

    fn note(&mut self, request: Request, answer: Answer) {
        match &answer.outcome {
            Outcome::Merchant(merchant) if !self.merchants.contains(&merchant.id) => {
                self.merchants.push(merchant.id);
            }
            Outcome::Payments(payments) if !answer.replayed => {
                self.payments.extend(payments.iter().map(|payment| payment.id));
            }
            Outcome::Withdrawal(withdrawal) if !self.withdrawals.contains(&withdrawal.id) => {
                self.withdrawals.push(withdrawal.id);
            }
            _ => {}
        }
        self.answers.push((request, answer));
    }
}

/// All calls of a wave at once, repeats included: equal requests must get equal answers, exactly one of
/// them not a replay. Failure modes 83, 91, 92, 97, 98.
async fn run(store: &Store, waves: &[Vec<(Call, usize)>]) -> Seen {
    let mut seen = Seen::default();
    for number in 0..MERCHANTS {
        let action =
            Action::CreateMerchant { name: "First".to_owned(), email: format!("f{number}@example.com") };
        let command =
            Command { id: CommandId(Uuid::now_v7()), merchant_id: MerchantId(Uuid::now_v7()), action };
        let request = Request { command, claim: None, origin: None, trace: None };
        let answer = store.submit(request.clone()).await.unwrap();
        seen.note(request, answer);
    }
    for wave in waves {
        let requests: Vec<(Request, usize)> =
            wave.iter().map(|(call, times)| (seen.request(call), *times)).collect();
        let repeated = requests.iter().map(|(request, times)| {
            let repeats = (0..*times).map(|_| {
                let mut request = request.clone();
                request.command.id = CommandId(Uuid::now_v7());
                store.submit(request)
            });
            join_all(repeats)
        });
        let answers = join_all(repeated).await;
        for ((request, _), answers) in requests.into_iter().zip(answers) {
            note_repeats(&mut seen, &request, &answers);
        }
    }
    seen
}

fn note_repeats(seen: &mut Seen, request: &Request, answers: &[Result<Answer, SubmitError>]) {
    let accepted: Vec<&Answer> = answers.iter().filter_map(|answer| answer.as_ref().ok()).collect();
    for answer in answers {
        if let Err(error) = answer {
            assert!(matches!(error, SubmitError::Refused(_)), "{request:?}: {error:?}");
        }
    }
    let fresh = accepted.iter().filter(|answer| !answer.replayed).count();
    assert_eq!(fresh, usize::from(!accepted.is_empty()), "{request:?}: {answers:?}");
    for answer in &accepted {
        assert_eq!(answer.outcome, accepted[0].outcome, "{request:?}");
    }
    if let Some(answer) = accepted.iter().find(|answer| !answer.replayed) {
        seen.note(request.clone(), (*answer).clone());
    }
}

fn property(backend: Backend, cases: u32) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases,
        max_shrink_iters: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let result = runner.run(&waves(), |waves| {
        runtime.block_on(async {
            let database = backend.create().await;
            let store = database.open(4).await;
            let seen = run(&store, &waves).await;
            check::everything(&store, &seen).await;
            store.close().await;
        });
        Ok(())
    });
    result.unwrap();
}

#[test]
fn invariants_hold_on_sqlite() {
    property(Backend::Sqlite, 40);
}

#[test]
fn invariants_hold_on_postgres() {
    property(Backend::Postgres, 20);
}
