//! The lab by hand: `lab provider ADDR [KEY]`, `lab origin ADDR`, `lab load URL [OPTION=VALUE …]`.
#![allow(clippy::print_stderr, clippy::print_stdout)]

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use tidegate_lab::load::{self, LoadMode, LoadOptions};
use tidegate_lab::origin::serve_origin;
use tidegate_lab::provider::{ProviderOptions, serve_provider};
use tidegate_lab::server::{listen, local_runtime};

const USAGE: &str =
    "usage: lab provider ADDR [KEY] | lab origin ADDR | lab load URL [OPTION=VALUE …]
options of load: mode=requests|streams|idle hold=SECONDS body=TEXT header=NAME:VALUE connections=N
count=N duration=SECONDS timeout=SECONDS threads=N html=FILE";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        ["provider", bind, key @ ..] => provider(bind, key.first().copied()),
        ["origin", bind] => origin(bind),
        ["load", url, options @ ..] => generate(url, options),
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn provider(bind: &str, key: Option<&str>) -> Result<(), String> {
    let listener = listen(address(bind)?).map_err(|error| error.to_string())?;
    let options = ProviderOptions { key: key.map(str::to_owned), ..ProviderOptions::default() };
    let runtime = local_runtime().map_err(|error| error.to_string())?;
    runtime.block_on(serve_provider(listener, options)).map_err(|error| error.to_string())
}

fn origin(bind: &str) -> Result<(), String> {
    let listener = listen(address(bind)?).map_err(|error| error.to_string())?;
    let runtime = local_runtime().map_err(|error| error.to_string())?;
    runtime.block_on(serve_origin(listener)).map_err(|error| error.to_string())
}

fn generate(url: &str, settings: &[&str]) -> Result<(), String> {
    let mut options = LoadOptions::new(url);
    options.progress_bar = true;
    let (mut hold, mut mode, mut html) = (Duration::from_secs(1), "requests", None);
    for setting in settings {
        let (name, value) = setting.split_once('=').ok_or(USAGE)?;
        let seconds = || value.parse().map(Duration::from_secs_f64).map_err(|_| USAGE);
        let number = || value.parse::<usize>().map_err(|_| USAGE);
        match name {
            "mode" => mode = value,
            "hold" => hold = seconds()?,
            "body" => {
                options.body = value.as_bytes().to_vec();
                "POST".clone_into(&mut options.method);
            }
            "header" => {
                let (name, value) = value.split_once(':').ok_or(USAGE)?;
                options.headers.push((name.to_owned(), value.trim().to_owned()));
            }
            "connections" => options.connections = number()?,
            "count" => options.count = Some(number()? as u64),
            "duration" => options.duration = seconds()?,
            "timeout" => options.timeout = seconds()?,
            "threads" => options.threads = number()?,
            "html" => html = Some(value),
            _ => return Err(USAGE.to_owned()),
        }
    }
    options.mode = match mode {
        "requests" => LoadMode::Requests,
        "streams" => LoadMode::Streams,
        "idle" => LoadMode::Idle { hold },
        _ => return Err(USAGE.to_owned()),
    };
    let report = load::run(&options).map_err(|error| error.to_string())?;
    if let Some(file) = html {
        std::fs::write(file, report.to_html()).map_err(|error| format!("{file}: {error}"))?;
    }
    println!("{}", report.to_json());
    Ok(())
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|error| format!("{text}: {error}"))
}
