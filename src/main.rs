//! Parses arguments, starts logging, runs the command, and turns its result into an exit code.

use iam_key_exporter::app::{self, ReloadSignal, ShutdownSignals, Verdict, VerifyError};
use iam_key_exporter::cli::{self, Action, CheckArgs, HealthcheckArgs, VerifyArgs};
use iam_key_exporter::config::{Config, Given};
use iam_key_exporter::http::Web;
use iam_key_exporter::http::client::Target;
use iam_key_exporter::source::inventory_file;
use iam_key_exporter::{http, telemetry};
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

const VIOLATIONS: u8 = 1;
const USAGE: u8 = 2;
const INCOMPLETE: u8 = 3;

fn main() -> ExitCode {
    protect_memory();
    telemetry::install_panic_hook();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let code = fail(INCOMPLETE, &error);
            telemetry::flush();
            return code;
        }
    };
    let code = runtime.block_on(run());
    // A thread that blocks on a file or a name server cannot be stopped, and its result is not needed.
    runtime.shutdown_background();
    telemetry::flush();
    code
}

/// Memory holds credentials, external IDs and passwords. It is not written to core dumps, and other processes of the same
/// user can read neither it nor the environment: files in `/proc` belong to root then. Those that the `process_*` metrics
/// are made of stay readable (proc(5)). A sandbox can refuse these calls; the exporter runs without them as well.
fn protect_memory() {
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    // Also for the processes that print credentials, which do not inherit the other attribute.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
}

async fn run() -> ExitCode {
    if let Err(error) = app::keep_running_at_file_size_limit() {
        return fail(INCOMPLETE, &error);
    }
    let command = match cli::parse() {
        Ok(cli) => cli.command,
        Err(error) => return fail(USAGE, &error),
    };
    match command {
        Action::Serve(args) => serve(args.into()).await,
        Action::Check(args) => check(args).await,
        Action::VerifyConfig(args) => verify_config(args).await,
        Action::Healthcheck(args) => healthcheck(args).await,
        Action::InventorySchema => print((inventory_file::schema() + "\n").as_bytes()),
        Action::Completions { shell } => {
            let mut out = Vec::new();
            clap_complete::generate(shell, &mut cli::command(), "iam-key-exporter", &mut out);
            // clap_complete writes a name with hyphens in two ways, so that bash would complete no subcommand.
            let script =
                String::from_utf8_lossy(&out).replace("iam__subcmd__key__subcmd__exporter", "iam__key__exporter");
            print(script.as_bytes())
        }
        Action::Man => {
            let mut out = Vec::new();
            clap_mangen::Man::new(cli::command()).render(&mut out).expect("writing to memory does not fail");
            print(&out)
        }
    }
}

async fn serve(given: Given) -> ExitCode {
    let installed = ShutdownSignals::install().and_then(|signals| Ok((signals, ReloadSignal::install()?)));
    let (mut signals, hangup) = match installed {
        Ok(installed) => installed,
        Err(error) => return fail(INCOMPLETE, &error),
    };
    let given = Arc::new(given);
    let at_start = Arc::clone(&given);
    // A file that blocks must not keep a signal from ending the process, not even as the first process of a container.
    let loaded = tokio::select! {
        loaded = tokio::task::spawn_blocking(move || load_serve(&at_start)) => loaded,
        () = signals.recv() => return ExitCode::SUCCESS,
    };
    let (config, web) = match loaded {
        Ok(Ok(loaded)) => loaded,
        Ok(Err(code)) => return code,
        Err(_) => return fail(INCOMPLETE, &"loading the configuration panicked"),
    };
    match app::serve(config, web, move || Config::load(&given), signals, hangup).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_usage() => fail(USAGE, &error),
        Err(error) => fail(INCOMPLETE, &error),
    }
}

async fn check(args: CheckArgs) -> ExitCode {
    let config = match load(&args.config.into()) {
        Ok(config) => config,
        Err(code) => return code,
    };
    match app::check(&config, &args.output).await {
        Ok(Verdict::Compliant) => ExitCode::SUCCESS,
        Ok(Verdict::Violations) => ExitCode::from(VIOLATIONS),
        Ok(Verdict::Incomplete) => ExitCode::from(INCOMPLETE),
        Err(error) if error.is_usage() => fail(USAGE, &error),
        Err(error) => fail(INCOMPLETE, &error),
    }
}

async fn verify_config(args: VerifyArgs) -> ExitCode {
    let config = match load(&args.config.into()) {
        Ok(config) => config,
        Err(code) => return code,
    };
    if let Err(code) = load_web(&config) {
        return code;
    }
    if args.aws != Some(true) {
        return print(config.settings.to_yaml().as_bytes());
    }
    match app::verify(&config).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(INCOMPLETE),
        Err(error @ VerifyError::NoAws) => fail(USAGE, &error),
        Err(error) => fail(INCOMPLETE, &error),
    }
}

async fn healthcheck(args: HealthcheckArgs) -> ExitCode {
    let (target, hint) = match args.url {
        Some(url) => (Target::of_url(&url), ""),
        None => {
            let given: Given = args.config.into();
            let web = given.web_of_running();
            let may_be_protected = web.config_file.is_some() && web.probe_address.is_none();
            let hint = "; with TLS or authentication, set --web.probe-address";
            (Target::of_settings(&web), if may_be_protected { hint } else { "" })
        }
    };
    let answer = match target {
        Ok(target) => http::client::status(&target).await,
        Err(error) => Err(error),
    };
    match answer {
        Ok(status) if status.is_success() => ExitCode::SUCCESS,
        Ok(status) => fail(1, &format!("unhealthy: {status}{hint}")),
        Err(error) => fail(1, &format!("{error}{hint}")),
    }
}

fn load_serve(given: &Given) -> Result<(Config, Web), ExitCode> {
    let config = load(given)?;
    let web = load_web(&config)?;
    Ok((config, web))
}

fn load_web(config: &Config) -> Result<Web, ExitCode> {
    app::load_web(config).map_err(|error| fail(USAGE, &error))
}

fn load(given: &Given) -> Result<Config, ExitCode> {
    let config = Config::load(given).map_err(|e| fail(USAGE, &e))?;
    telemetry::init(&config.settings.log);
    for name in cli::unknown_variables() {
        tracing::warn!(name, "environment variable ignored: no flag has this name");
    }
    Ok(config)
}

fn fail(code: u8, error: &dyn std::fmt::Display) -> ExitCode {
    telemetry::report_error(error);
    ExitCode::from(code)
}

fn print(bytes: &[u8]) -> ExitCode {
    match std::io::stdout().lock().write_all(bytes) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => fail(INCOMPLETE, &e),
        _ => ExitCode::SUCCESS,
    }
}
