//! `fintech migrate`.

use std::io::{self, Write as _};

use crate::{database, settings::Settings};

pub async fn migrate(settings: Settings) -> anyhow::Result<()> {
    let lanes = database::migrate(&settings.store).await?;
    writeln!(io::stdout(), "The database is up to date; it has {lanes} lanes.")?;
    Ok(())
}
