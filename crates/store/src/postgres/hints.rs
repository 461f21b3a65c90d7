//! Hints between nodes that something was committed, by LISTEN and NOTIFY.
//!
//! A hint wakes those who wait and says nothing else: it may be lost, doubled or late, and whoever waits looks by
//! itself after a while. The notification is not sent in the transaction of a payment, whose commit would then queue
//! behind the one lock that all notifying transactions take, but afterwards, by a connection of its own, and at most
//! so often.

use std::{future::poll_fn, time::Duration};

use tokio::{sync::watch, task::JoinHandle, time::Instant};
use tokio_postgres::{AsyncMessage, Config, NoTls};
use uuid::Uuid;

use super::{EFFECTS_OPTIONS, config, describe};
use crate::{error::OpenError, store::Commits};

const CHANNEL: &str = "fintech_commits";
/// Hints are sent at most this often.
const NOTIFY_INTERVAL_MIN: Duration = Duration::from_millis(10);
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);

/// Tells other nodes of this one's commits, and this one of theirs, until it is aborted.
pub(crate) fn start(text: &str, commits: &watch::Sender<Commits>) -> Result<JoinHandle<()>, OpenError> {
    let config = config(text, "fintech hints", EFFECTS_OPTIONS)?;
    let (own, others) = (commits.subscribe(), commits.clone());
    Ok(tokio::spawn(async move {
        loop {
            if let Err(error) = exchange(&config, own.clone(), &others).await {
                tracing::debug!(error = %describe(&error), "hints between nodes are interrupted; polling stands in");
            }
            tokio::time::sleep(RECONNECT_PAUSE).await;
        }
    }))
}

/// One connection's time: listens and notifies until it breaks, or until the store is gone.
async fn exchange(
    config: &Config,
    mut own: watch::Receiver<Commits>,
    others: &watch::Sender<Commits>,
) -> Result<(), tokio_postgres::Error> {
    let (client, mut connection) = config.connect(NoTls).await?;
    let me = Uuid::new_v4().to_string();
    let (heard, own_name) = (others.clone(), me.clone());
    let mut listening = tokio::spawn(async move {
        while let Some(message) = poll_fn(|cx| connection.poll_message(cx)).await {
            if let AsyncMessage::Notification(hint) = message?
                && hint.payload() != own_name
            {
                heard.send_modify(|commits| commits.others += 1);
            }
        }
        Ok(())
    });
    client.batch_execute(&format!("listen {CHANNEL}")).await?;
    let notify = format!("notify {CHANNEL}, '{me}'");
    let mut told = own.borrow_and_update().own;
    loop {
        tokio::select! {
            changed = own.changed() => if changed.is_err() { return Ok(()) },
            ended = &mut listening => return ended.unwrap_or(Ok(())),
        }
        let now = own.borrow_and_update().own;
        if now != told {
            told = now;
            let next_at = Instant::now() + NOTIFY_INTERVAL_MIN;
            client.batch_execute(&notify).await?;
            tokio::time::sleep_until(next_at).await;
        }
    }
}
