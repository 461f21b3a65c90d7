//! Whether a broker answers, for whoever watches the platform.

use std::time::Duration;

use domain::event::Stream;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use super::{Context, Settings};

/// Asks for the metadata of one topic, within `patience`. The client is made for the one question: one that is kept would
/// have to be polled, and says only what its connections were like.
pub async fn answers(settings: &Settings, patience: Duration) -> bool {
    let (config, topic) = (settings.admin_client(), settings.topic(Stream::Payments));
    let asked = tokio::task::spawn_blocking(move || {
        let client: BaseConsumer<Context> = config.create_with_context(Context)?;
        // A topic that is not there is an answer, too. A consumer's question makes none.
        client.fetch_metadata(Some(&topic), patience).map(|metadata| !metadata.brokers().is_empty())
    });
    matches!(asked.await, Ok(Ok(true)))
}
