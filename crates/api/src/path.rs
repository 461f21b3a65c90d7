//! The parameters of a path.

use std::str::FromStr;

use axum::{
    extract::{FromRequestParts, RawPathParams},
    http::request::Parts,
};
use domain::{
    currency::Currency,
    id::{MerchantId, PaymentId, WithdrawalId},
};

use crate::{
    parse::{CURRENCY_WANTED, Errors},
    problem::Problem,
    problem_kind::BAD_REQUEST,
};

const ID_WANTED: &str = "Send an id such as 019a0000-0000-7000-8000-000000000001.";

/// `…/{merchantId}…`
pub struct OfMerchant(pub MerchantId);

/// `…/{merchantId}/balances/{currency}`
pub struct OfBalance(pub MerchantId, pub Currency);

/// `…/{merchantId}/payments/{paymentId}…`
pub struct OfPayment(pub MerchantId, pub PaymentId);

/// `…/{merchantId}/withdrawals/{withdrawalId}…`
pub struct OfWithdrawal(pub MerchantId, pub WithdrawalId);

impl<S: Send + Sync> FromRequestParts<S> for OfMerchant {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let mut path = Path::of(parts, state).await?;
        let merchant = path.id("merchantId");
        path.finish(merchant).map(Self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for OfBalance {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let mut path = Path::of(parts, state).await?;
        let merchant = path.id("merchantId");
        let currency = path.read("currency", Currency::parse, CURRENCY_WANTED);
        path.finish(merchant.zip(currency)).map(|(merchant, currency)| Self(merchant, currency))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for OfPayment {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let mut path = Path::of(parts, state).await?;
        let (merchant, payment) = (path.id("merchantId"), path.id("paymentId"));
        path.finish(merchant.zip(payment)).map(|(merchant, payment)| Self(merchant, payment))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for OfWithdrawal {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let mut path = Path::of(parts, state).await?;
        let (merchant, withdrawal) = (path.id("merchantId"), path.id("withdrawalId"));
        path.finish(merchant.zip(withdrawal)).map(|(merchant, withdrawal)| Self(merchant, withdrawal))
    }
}

struct Path {
    params: RawPathParams,
    errors: Errors,
}

impl Path {
    async fn of<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let params = RawPathParams::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::new(BAD_REQUEST, "The path is not UTF-8 once its %xx are decoded."))?;
        Ok(Self { params, errors: Errors::default() })
    }

    fn id<T: FromStr>(&mut self, name: &str) -> Option<T> {
        self.read(name, |text| text.parse().ok(), ID_WANTED)
    }

    fn read<T>(&mut self, name: &str, read: fn(&str) -> Option<T>, wanted: &'static str) -> Option<T> {
        let value = self.params.iter().find(|(param, _)| *param == name).and_then(|(_, text)| read(text));
        if value.is_none() {
            self.errors.at_parameter(name, wanted);
        }
        value
    }

    fn finish<T>(self, value: Option<T>) -> Result<T, Problem> {
        self.errors.into_result()?;
        value.ok_or_else(|| Problem::internal("a path was refused without naming a parameter"))
    }
}
