//! `fintech config show`.

use std::io::{self, Write as _};

use crate::settings::Layers;

pub fn show(layers: &Layers) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    for resolved in &layers.resolved {
        let setting = resolved.setting;
        writeln!(out, "{} = {}  ({})", setting.key, resolved.shown(), resolved.source)?;
        writeln!(out, "    {}", setting.sentence)?;
    }
    Ok(())
}
