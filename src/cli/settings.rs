//! The flags of the settings table, built from [`SETTINGS`].

use crate::config::settings::{SETTINGS, Setting};
use crate::config::values::Shape;
use clap::builder::{BoolishValueParser, OsStringValueParser, PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, ValueHint};
use std::ffi::OsString;

/// The settings that were given by flags or environment variables; with `SERVE`, also those that `check` does not have.
#[derive(Debug, Clone)]
pub struct SettingArgs<const SERVE: bool> {
    pub values: Vec<(&'static Setting, Vec<OsString>)>,
}

/// The flags of the section `web`, by which a running exporter is found.
#[derive(Debug, Clone)]
pub struct WebArgs {
    pub values: Vec<(&'static Setting, Vec<OsString>)>,
}

fn web() -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().filter(|setting| setting.key.starts_with("web."))
}

impl Args for WebArgs {
    fn augment_args(command: Command) -> Command {
        command.args(web().map(arg))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for WebArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(WebArgs { values: given(web(), matches) })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn given(
    settings: impl Iterator<Item = &'static Setting>,
    matches: &ArgMatches,
) -> Vec<(&'static Setting, Vec<OsString>)> {
    let given = settings.filter_map(|setting| {
        let values: Vec<OsString> = matches.get_raw(setting.flag)?.map(ToOwned::to_owned).collect();
        Some((setting, values))
    });
    given.collect()
}

impl<const SERVE: bool> Args for SettingArgs<SERVE> {
    fn augment_args(command: Command) -> Command {
        let common = SETTINGS.iter().filter(|s| !s.serve_only);
        let serve = SETTINGS.iter().filter(|s| s.serve_only && SERVE);
        command.args(common.chain(serve).map(arg))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<const SERVE: bool> FromArgMatches for SettingArgs<SERVE> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(SettingArgs { values: given(SETTINGS.iter().filter(|s| SERVE || !s.serve_only), matches) })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn arg(setting: &'static Setting) -> Arg {
    let arg = Arg::new(setting.flag)
        .long(setting.flag)
        .value_name(setting.value_name)
        .help(setting.help.trim())
        .help_heading(setting.heading);
    let checked = OsStringValueParser::new().try_map(|text| (setting.check)(&text).map(|()| text));
    match setting.shape {
        Shape::Switch => switch(arg),
        Shape::One => arg.value_parser(checked),
        Shape::List => arg.value_parser(checked).value_delimiter(',').action(ArgAction::Append),
        Shape::Path => arg.value_parser(checked).value_hint(ValueHint::FilePath),
        Shape::Choice(possible) => {
            let possible = possible.iter().map(|p| {
                let value = PossibleValue::new(p.name);
                if p.help.is_empty() { value } else { value.help(p.help) }
            });
            arg.value_parser(PossibleValuesParser::new(possible))
        }
    }
}

/// `--flag`, `--flag=false`: what the environment or the file switches on can be switched off again.
pub(super) fn switch(arg: Arg) -> Arg {
    arg.num_args(0..=1).require_equals(true).default_missing_value("true").value_parser(BoolishValueParser::new())
}
