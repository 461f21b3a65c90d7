//! `fintech migrate`.

use super::output;
use crate::{database, event_system, settings::Settings};

pub async fn migrate(settings: Settings) -> anyhow::Result<()> {
    let lanes = database::migrate(&settings.store).await?;
    output::line(format_args!("The database is up to date; it has {lanes} lanes."));
    let store = database::open(&settings.store).await?;
    event_system::register_schemas(&store, &settings).await;
    store.close().await;
    if let Some(kafka) = &settings.kafka {
        let checked = stream::kafka::topics::ensure(kafka, lanes).await?;
        for topic in &checked.made {
            output::line(format_args!("Made the topic {topic} with {lanes} partitions."));
        }
        for warning in &checked.warnings {
            tracing::warn!("{warning}");
        }
        output::line("The topics are as they should be.");
    }
    Ok(())
}
