//! Reading what the user names, and saying what is wrong with it.

use std::path::Path;
use std::time::SystemTime;

use tidegate_config::speedmimi::{self, Imported};
use tidegate_config::{
    Budget, CONFIG_BYTES_MAX, Config, Loaded, Preset, Problem, Problems, import_env, load_bytes,
    parse_env_file,
};
use tidegate_snapshot::tls::{Finding, Severity, inspect};

use crate::Failure;

/// The environment of this process.
pub(crate) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Reads a file of at most the configuration's size limit.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    use std::io::Read as _;
    let cannot =
        |error: std::io::Error| Failure::User(format!("cannot read {}: {error}", path.display()));
    let file = std::fs::File::open(path).map_err(cannot)?;
    let mut bytes = Vec::new();
    // One more than allowed, so that the loader sees that it is too much and says so.
    file.take(CONFIG_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(cannot)?;
    Ok(bytes)
}

/// Loads and checks a YAML configuration and the certificate files that it names. What is as bad as
/// `refused` is a problem, what is better a warning.
pub(crate) fn load(path: &Path, refused: Severity) -> Result<Loaded, Failure> {
    let bytes = read(path)?;
    load_text(&bytes, &path.display().to_string(), refused).map_err(|problems| {
        let count = problems.0.len();
        let plural = if count == 1 { "problem" } else { "problems" };
        Failure::User(format!("{count} {plural} in {}:\n{problems}", path.display()))
    })
}

/// As [`load`], of the bytes of a file of that name.
pub(crate) fn load_text(bytes: &[u8], name: &str, refused: Severity) -> Result<Loaded, Problems> {
    let mut loaded = load_bytes(bytes, name, &environment)?;
    let (bad, odd): (Vec<_>, Vec<_>) = inspect(&loaded.config, SystemTime::now())
        .into_iter()
        .partition(|finding| finding.severity >= refused);
    let located = |findings: Vec<Finding>| -> Vec<Problem> {
        findings.iter().map(|finding| loaded.problem(&finding.path, &finding.message)).collect()
    };
    let (bad, odd) = (located(bad), located(odd));
    if !bad.is_empty() {
        return Err(Problems(bad));
    }
    loaded.warnings.extend(odd);
    Ok(loaded)
}

/// Makes a configuration of a .env file.
pub(crate) fn load_env(
    path: &Path,
    preset: Option<Preset>,
) -> Result<(Config, Vec<Problem>), Failure> {
    let name = path.display().to_string();
    let bytes = read(path)?;
    let text = std::str::from_utf8(&bytes)
        .map_err(|error| Failure::User(format!("{name} is not a text file: {error}")))?;
    let told = |problems| Failure::User(format!("{name} cannot be used:\n{problems}"));
    let (variables, mut warnings) = parse_env_file(text, &name).map_err(told)?;
    let (config, more) = import_env(&variables, &name, preset).map_err(told)?;
    warnings.extend(more);
    Ok((config, warnings))
}

/// Makes a configuration of a file of SpeedMimi's.
pub(crate) fn import_speedmimi(path: &Path) -> Result<Imported, Failure> {
    let name = path.display().to_string();
    let bytes = read(path)?;
    let text = std::str::from_utf8(&bytes)
        .map_err(|error| Failure::User(format!("{name} is not a text file: {error}")))?;
    speedmimi::import_speedmimi(text, &name, &environment)
        .map_err(|problems| Failure::User(format!("{name} cannot be used:\n{problems}")))
}

/// A preset by its name.
pub(crate) fn preset(name: Option<&str>) -> Result<Option<Preset>, Failure> {
    name.map(|name| name.parse::<Preset>().map_err(|error| Failure::User(error.to_string())))
        .transpose()
}

/// The budget of a configuration on this machine.
pub(crate) fn budget(config: &Config) -> Budget {
    Budget::of(config, cores())
}

/// How many threads can run at once here.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
