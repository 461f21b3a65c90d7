//! `/merchants/{id}`: one merchant with its balances, its newest payments and withdrawals, and what may be done for it.

use access::Permission;
use api::text;
use askama::Template;
use axum::{
    extract::{Path, State},
    response::Response,
};
use domain::{
    command::{Action, NewPayment, NewWithdrawal},
    id::MerchantId,
    ledger::{AccountKey, AccountKind, Owner},
    merchant::Merchant,
    state::Outcome,
};
use store::{
    browse::{self, PaymentsWanted, WithdrawalsWanted},
    log,
    queries::{self, Balance},
};
use uuid::Uuid;

use super::{
    Visit, merchants,
    payment::{EventStep, account_href, event_step},
    payments::PaymentRow,
    withdrawals::WithdrawalRow,
};
use crate::{
    change::{Form, done},
    fault::{Fault, render},
    fields::Fields,
    layout::{Frame, Section},
    list::Params,
    messages::places::{self, OnKafka, Place},
    show::{Badge, Clock, IdLink, Money, When},
    state::Console,
};

/// Of each kind, the newest; the lists have the rest.
const ROWS_SHOWN: usize = 10;
const EVENTS_MAX: usize = 50;

#[derive(Template)]
#[template(path = "merchant.html")]
struct MerchantPage {
    frame: Frame,
    id: IdLink,
    name: String,
    email: String,
    state: Badge,
    is_active: bool,
    created: When,
    params: Params,
    as_of: Option<When>,
    balances: Vec<BalanceRow>,
    payments: Vec<PaymentRow>,
    withdrawals: Vec<WithdrawalRow>,
    events: Vec<EventStep>,
    on_kafka: OnKafka,
    is_cut: bool,
    may: May,
    once: String,
}

/// What whoever looks may do here.
#[expect(clippy::struct_excessive_bools, reason = "each is a permission of its own")]
struct May {
    change: bool,
    pay: bool,
    withdraw: bool,
    keys: bool,
}

struct BalanceRow {
    available: Money,
    available_href: String,
    pending: Money,
    pending_href: String,
    total: Money,
    updated: When,
}

impl BalanceRow {
    fn new(merchant: MerchantId, balance: &Balance, clock: Clock) -> Self {
        let Balance { currency, available_minor, pending_minor, updated_at } = *balance;
        let href = |kind| account_href(&AccountKey { owner: Owner::Merchant(merchant), kind, currency });
        Self {
            available: Money::new(available_minor, currency),
            available_href: href(AccountKind::Available),
            pending: Money::new(pending_minor, currency),
            pending_href: href(AccountKind::Pending),
            total: Money::sum(i128::from(available_minor) + i128::from(pending_minor), currency),
            updated: clock.when(updated_at),
        }
    }
}

/// `GET /merchants/{id}`
pub async fn show(
    State(console): State<Console>,
    visit: Visit,
    Path(id): Path<Uuid>,
    mut params: Params,
) -> Result<Response, Fault> {
    visit.must(Permission::View)?;
    let as_of = params.moment("at", true);
    let (merchant, now) = find(&console, id).await?;
    let balances = match as_of {
        None => now,
        Some(moment) => console.read(queries::balances_as_of(console.db(), merchant.id, moment)).await?,
    };
    let wanted = PaymentsWanted { merchant: Some(merchant.id), ..PaymentsWanted::default() };
    let payments = console.read(browse::payments(console.db(), &wanted, None, ROWS_SHOWN)).await?;
    let wanted = WithdrawalsWanted { merchant: Some(merchant.id), ..WithdrawalsWanted::default() };
    let withdrawals = console.read(browse::withdrawals(console.db(), &wanted, None, ROWS_SHOWN)).await?;
    let events = console.read(log::by_subject(console.db(), id, EVENTS_MAX)).await?;
    let on_kafka = OnKafka::of(&console, &events, params.get(places::PARAM).is_some()).await;
    let (clock, viewer) = (visit.clock, &visit.viewer);
    render(&MerchantPage {
        may: May {
            change: viewer.may(Permission::ChangeMerchants),
            pay: viewer.may(Permission::ChangePayments),
            withdraw: viewer.may(Permission::ChangeWithdrawals),
            keys: viewer.may(Permission::ManageKeys),
        },
        frame: visit.frame(Section::Merchants, format!("{} {}", IdLink::new(id, "").short, merchant.name)),
        id: IdLink::new(id, ""),
        state: merchants::state(&merchant),
        is_active: merchant.is_active,
        created: clock.when(merchant.created_at),
        as_of: as_of.map(|moment| clock.when(moment)),
        balances: balances.iter().map(|balance| BalanceRow::new(merchant.id, balance, clock)).collect(),
        payments: payments.rows.iter().map(|payment| PaymentRow::new(payment, clock)).collect(),
        withdrawals: withdrawals.rows.iter().map(|one| WithdrawalRow::new(one, clock)).collect(),
        is_cut: events.len() == EVENTS_MAX,
        events: events.iter().map(|event| event_step(&console, event, clock)).collect(),
        on_kafka,
        params,
        once: Uuid::new_v4().simple().to_string(),
        name: merchant.name,
        email: merchant.email,
    })
}

async fn find(console: &Console, id: Uuid) -> Result<(Merchant, Vec<Balance>), Fault> {
    let found = console.read(console.store().lookups().balances(MerchantId(id))).await?;
    found.ok_or_else(|| Fault::not_found(format!("There is no merchant {id}.")))
}

/// `POST /merchants/{id}/rename`
pub async fn rename(
    State(console): State<Console>,
    Path(id): Path<Uuid>,
    form: Form,
) -> Result<Response, Fault> {
    form.viewer.must(Permission::ChangeMerchants)?;
    let mut fields = Fields::of(&form);
    let name = fields.text("name", text::NAME);
    let name = Some(fields.finish(name)?);
    update(&console, id, &form, Action::UpdateMerchant { name, is_active: None }).await
}

/// `POST /merchants/{id}/activate`
pub async fn activate(
    State(console): State<Console>,
    Path(id): Path<Uuid>,
    form: Form,
) -> Result<Response, Fault> {
    form.viewer.must(Permission::ChangeMerchants)?;
    update(&console, id, &form, Action::UpdateMerchant { name: None, is_active: Some(true) }).await
}

/// `POST /merchants/{id}/deactivate`: it takes no new payments and withdrawals; what it has goes on.
pub async fn deactivate(
    State(console): State<Console>,
    Path(id): Path<Uuid>,
    form: Form,
) -> Result<Response, Fault> {
    form.viewer.must(Permission::ChangeMerchants)?;
    update(&console, id, &form, Action::UpdateMerchant { name: None, is_active: Some(false) }).await
}

async fn update(console: &Console, id: Uuid, form: &Form, action: Action) -> Result<Response, Fault> {
    form.submit(console, MerchantId(id), action).await?;
    Ok(done(&format!("/merchants/{id}"), "changed"))
}

/// `POST /merchants/{id}/payments`
pub async fn pay(
    State(console): State<Console>,
    Path(id): Path<Uuid>,
    form: Form,
) -> Result<Response, Fault> {
    form.viewer.must(Permission::ChangePayments)?;
    let payment = read_payment(&form)?;
    let action = Action::CreatePayments(vec![payment]);
    let created = match form.submit(&console, MerchantId(id), action).await? {
        Outcome::Payment(payment) => payment.id,
        Outcome::Payments(payments) if payments.len() == 1 => payments[0].id,
        other => return Err(Fault::internal(&format!("a payment was wanted, and there is {other:?}"))),
    };
    Ok(done(&format!("/payments/{created}"), "created"))
}

fn read_payment(form: &Form) -> Result<NewPayment, Fault> {
    let mut fields = Fields::of(form);
    let (amount, currency) = (fields.amount("amount"), fields.currency("currency"));
    let external_reference = fields.optional_text("reference", text::EXTERNAL_REFERENCE);
    let description = fields.optional_text("description", text::DESCRIPTION);
    let (amount, currency) = fields.finish(amount.zip(currency))?;
    Ok(NewPayment { amount, currency, external_reference, description })
}

/// `POST /merchants/{id}/withdrawals`
pub async fn withdraw(
    State(console): State<Console>,
    Path(id): Path<Uuid>,
    form: Form,
) -> Result<Response, Fault> {
    form.viewer.must(Permission::ChangeWithdrawals)?;
    let action = Action::RequestWithdrawal(read_withdrawal(&form)?);
    match form.submit(&console, MerchantId(id), action).await? {
        Outcome::Withdrawal(withdrawal) => Ok(done(&format!("/withdrawals/{}", withdrawal.id), "created")),
        other => Err(Fault::internal(&format!("a withdrawal was wanted, and there is {other:?}"))),
    }
}

fn read_withdrawal(form: &Form) -> Result<NewWithdrawal, Fault> {
    let mut fields = Fields::of(form);
    let (amount, currency) = (fields.amount("amount"), fields.currency("currency"));
    let (bank_account, bank_routing) = (fields.bank_number("account"), fields.bank_number("routing"));
    let read = || {
        let (bank_account, bank_routing) = (bank_account?, bank_routing?);
        Some(NewWithdrawal { amount: amount?, currency: currency?, bank_account, bank_routing })
    };
    fields.finish(read())
}
