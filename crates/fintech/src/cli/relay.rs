//! `fintech relay`: how far publishing is behind the log.

use super::{consumers::seconds, output};
use crate::{database, settings::Settings};

pub async fn show(settings: Settings) -> anyhow::Result<()> {
    let db = store::open_reads(&settings.store.location, 1)?;
    let status = stream::relay::status::status(db.as_ref(), database::now()).await?;
    output::line(format_args!(
        "{:<8} {:>8} {:>12} {:>14}",
        "LEASE", "EPOCH", "UNPUBLISHED", "OLDEST SECONDS"
    ));
    let lease = if status.is_held { "held" } else { "free" };
    output::line(format_args!(
        "{lease:<8} {:>8} {:>12} {:>14}",
        status.epoch,
        status.unpublished,
        seconds(status.micros)
    ));
    Ok(())
}
