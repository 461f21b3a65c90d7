//! The consumers, one file each.

pub mod daily_totals;
mod event_log;
pub mod payment_log;
#[cfg(debug_assertions)]
mod probe;
pub mod withdrawal_log;

use std::sync::Arc;

use stream::consumer::Consumer;

/// All consumers that run with the program.
pub fn all() -> Vec<Arc<dyn Consumer>> {
    let consumers: [Arc<dyn Consumer>; 3] = [
        Arc::new(payment_log::PaymentLog),
        Arc::new(withdrawal_log::WithdrawalLog),
        Arc::new(daily_totals::DailyTotals),
    ];
    #[cfg(debug_assertions)]
    if probe::Probe::is_wanted() {
        return consumers.into_iter().chain([Arc::new(probe::Probe) as Arc<dyn Consumer>]).collect();
    }
    consumers.to_vec()
}
