//! `fintech man`: the manual, a page a command, made of the command line and of the table of settings, so that it cannot say
//! of another program than this one.
//!
//! Pages tell no date: the same program writes the same bytes.

use std::{
    fs,
    io::{self, Write as _},
    path::PathBuf,
};

use anyhow::Context as _;
use clap::{Args, Command};
use clap_mangen::{
    Man,
    roff::{Roff, bold, italic, roman},
};

use crate::settings::Layers;

#[derive(Debug, Args)]
pub struct Manual {
    /// Write every page into this folder, which is made, instead of printing that of `fintech` itself
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

pub fn write(options: &Manual, command: Command) -> anyhow::Result<()> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let Some(folder) = &options.out else {
        return io::stdout().lock().write_all(&first_page(command)?).context("cannot print the page");
    };
    fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    for (name, page) in pages(command)? {
        let path = folder.join(name);
        fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Each by the name of its file.
fn pages(command: Command) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut left: Vec<Command> = command.get_subcommands().cloned().collect();
    let mut pages = vec![(file_name(&command), first_page(command)?)];
    while let Some(command) = left.pop() {
        left.extend(command.get_subcommands().cloned());
        pages.push((file_name(&command), page(command)?));
    }
    Ok(pages)
}

/// With the commands before it, as in `fintech-events-tail`.
fn full_name(command: &Command) -> &str {
    command.get_display_name().unwrap_or(command.get_name())
}

fn file_name(command: &Command) -> String {
    format!("{}.1", full_name(command))
}

fn page(command: Command) -> io::Result<Vec<u8>> {
    let mut page = title(&command);
    let has_commands = command.has_subcommands();
    let man = Man::new(command);
    beginning(&man, &mut page)?;
    if has_commands {
        man.render_subcommands_section(&mut page)?;
    }
    man.render_version_section(&mut page)?;
    Ok(page)
}

/// Of `fintech` itself: what no command alone is about stands here, too.
fn first_page(command: Command) -> io::Result<Vec<u8>> {
    let mut page = title(&command);
    let man = Man::new(command);
    beginning(&man, &mut page)?;
    man.render_subcommands_section(&mut page)?;
    let mut more = Roff::new();
    exit_status(&mut more);
    settings(&mut more);
    files(&mut more);
    more.to_writer(&mut page)?;
    man.render_version_section(&mut page)?;
    Ok(page)
}

/// The crate's own would leave out the date, which is empty, and take what stands behind it for one.
fn title(command: &Command) -> Vec<u8> {
    let version = command.get_version().unwrap_or_default();
    let name = full_name(command);
    format!(".TH {name} 1 \"\" \"fintech {version}\" FintechPlatform\n").into_bytes()
}

fn beginning(man: &Man, page: &mut Vec<u8>) -> io::Result<()> {
    man.render_name_section(page)?;
    man.render_synopsis_section(page)?;
    man.render_description_section(page)?;
    man.render_options_section(page)
}

fn exit_status(page: &mut Roff) {
    page.control("SH", ["EXIT STATUS"]);
    for (status, sentence) in [
        ("0", "What was asked for is done."),
        (
            "1",
            "It could not be done, which one sentence on standard error explains; or it was found out that something is wrong.",
        ),
        ("2", "The command line could not be understood; or a command that compares could not find out."),
    ] {
        entry(page, status, sentence);
    }
}

fn settings(page: &mut Roff) {
    page.control("SH", ["SETTINGS"]);
    page.text([
        roman("Each stands in appsettings.json as it is called here, or in the environment with "),
        bold("__"),
        roman(" for the colon, as in "),
        bold("Server__ApiAddress"),
        roman(". A flag goes before the environment, and that before the files. "),
        bold("fintech config show"),
        roman(" tells the value of each, and where it came from."),
    ]);
    for resolved in Layers::defaults().resolved {
        let setting = resolved.setting;
        entry(page, setting.key, setting.sentence);
        if let Some(default) = setting.default.filter(|text| !text.is_empty() && !setting.is_secret) {
            page.text([roman("Default: "), italic(default), roman(".")]);
        }
    }
}

fn files(page: &mut Roff) {
    page.control("SH", ["FILES"]);
    for (path, sentence) in [
        ("appsettings.json", "Settings, in the folder where the program starts, or elsewhere by --config."),
        (
            "appsettings.NAME.json",
            "Settings of the environment that FINTECH_ENVIRONMENT names, over those of appsettings.json.",
        ),
        ("/etc/fintech/fintech.env", "Where Debian's package has them: settings of the service, one a line."),
        ("/var/lib/fintech", "The service's data, where it has SQLite."),
    ] {
        entry(page, path, sentence);
    }
}

fn entry(page: &mut Roff, term: &str, sentence: &str) {
    page.control("TP", []);
    page.text([bold(term)]);
    page.text([roman(sentence)]);
}

#[cfg(test)]
mod tests {
    use clap::{Arg, CommandFactory as _};

    use super::*;
    use crate::cli::Cli;

    fn built() -> Command {
        let mut command = Cli::command().disable_help_subcommand(true);
        command.build();
        command
    }

    #[test]
    fn every_command_and_every_argument_has_a_sentence() {
        let mut left = vec![built()];
        let mut looked_at = 0;
        while let Some(command) = left.pop() {
            left.extend(command.get_subcommands().cloned());
            let name = full_name(&command).to_owned();
            assert!(command.get_about().is_some(), "{name} says nothing about itself");
            for argument in command.get_arguments() {
                let says =
                    |argument: &Arg| argument.get_help().is_some_and(|help| !help.to_string().is_empty());
                assert!(says(argument), "{name} says nothing about {}", argument.get_id());
                looked_at += 1;
            }
        }
        assert!(looked_at > 100, "{looked_at}");
    }

    #[test]
    fn no_two_pages_have_one_name_and_the_first_tells_every_setting() {
        let pages = pages(built()).unwrap();
        let mut names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), pages.len());
        let (name, page) = &pages[0];
        let page = String::from_utf8(page.clone()).unwrap();
        assert_eq!(name, "fintech.1");
        for resolved in Layers::defaults().resolved {
            assert!(page.contains(resolved.setting.key), "{}", resolved.setting.key);
        }
    }
}
