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
        let given = SETTINGS.iter().filter(|s| SERVE || !s.serve_only).filter_map(|setting| {
            let values: Vec<OsString> = matches.get_raw(setting.flag)?.map(ToOwned::to_owned).collect();
            Some((setting, values))
        });
        Ok(SettingArgs { values: given.collect() })
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
