//! The settings of schemas: how events are written, and which registry knows how.

use anyhow::{anyhow, bail, ensure};
use registry::{Credentials, Remote};

use super::{Layers, table::REGISTRY_URL};

/// How events are written to Kafka.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Json,
    Avro,
}

pub fn format(layers: &Layers) -> Format {
    if layers.text("Schemas:Format") == "avro" { Format::Avro } else { Format::Json }
}

/// `None`: the built-in one.
pub fn remote(layers: &Layers) -> anyhow::Result<Option<Remote>> {
    let credentials = credentials(layers)?;
    let Some(url) = layers.optional_text(REGISTRY_URL) else {
        ensure!(
            matches!(credentials, Credentials::None),
            "there are credentials for a schema registry, and {REGISTRY_URL} is not set"
        );
        return Ok(None);
    };
    // It is shown by `fintech config show`.
    ensure!(
        !url.contains('@'),
        "{REGISTRY_URL} must not hold a user or a password; use Schemas:RegistryUser and Schemas:RegistryPassword"
    );
    let remote = Remote::new(&url, credentials);
    remote.map(Some).map_err(|reason| anyhow!("{REGISTRY_URL} is {url:?}; {reason}"))
}

fn credentials(layers: &Layers) -> anyhow::Result<Credentials> {
    let text = |key| layers.optional_text(key);
    let given =
        (text("Schemas:RegistryUser"), text("Schemas:RegistryPassword"), text("Schemas:RegistryToken"));
    Ok(match given {
        (None, None, None) => Credentials::None,
        (None, None, Some(token)) => Credentials::Bearer(token),
        (Some(user), Some(password), None) => Credentials::Basic { user, password },
        (_, _, Some(_)) => {
            bail!("Schemas:RegistryToken is set, and so is a user or a password: use one or the other")
        }
        (_, _, None) => {
            bail!("Schemas:RegistryUser and Schemas:RegistryPassword must both be set, or none of them")
        }
    })
}
