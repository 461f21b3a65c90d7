//! The consumers, one file each.

mod event_log;
pub mod payment_log;
pub mod withdrawal_log;

use std::sync::Arc;

use stream::consumer::Consumer;

/// All consumers that run with the program.
pub fn all() -> Vec<Arc<dyn Consumer>> {
    vec![Arc::new(payment_log::PaymentLog), Arc::new(withdrawal_log::WithdrawalLog)]
}
