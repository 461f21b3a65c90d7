//! `fintech config show`.

use super::output;
use crate::settings::Layers;

pub fn show(layers: &Layers) {
    for resolved in &layers.resolved {
        let setting = resolved.setting;
        output::line(format_args!("{} = {}  ({})", setting.key, resolved.shown(), resolved.source));
        output::line(format_args!("    {}", setting.sentence));
    }
}
