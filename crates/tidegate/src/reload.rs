//! Where the configuration comes from, whether it has changed, and what it says now.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tidegate_config::{Config, Preset};
use tidegate_snapshot::tls::{self, Severity};

use crate::{Failure, files};

/// The source of a configuration.
#[derive(Debug)]
pub(crate) enum Origin {
    /// A YAML file.
    Yaml(PathBuf, Option<Preset>),
    /// A .env file.
    Env(PathBuf, Option<Preset>),
    /// Made by a command; it never changes.
    Made(Box<Config>),
}

/// What tells two states of a file apart without reading it: when it was written, its length, and
/// which file it is. None: it cannot be looked at.
pub(crate) type Stamp = Option<(SystemTime, u64, u64)>;

/// The states of the certificate files that a configuration names.
pub(crate) type CertificateStamps = Vec<Stamp>;

/// The states of the certificate files now.
pub(crate) fn certificate_stamps(config: &Config) -> CertificateStamps {
    tls::files(config).into_iter().map(stamp).collect()
}

/// The state of a file. Follows links, so that a replaced Kubernetes volume is seen.
fn stamp(path: &Path) -> Stamp {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
}

impl Origin {
    /// The configuration as the source says now, checked. Warnings are logged.
    pub(crate) fn load(&self) -> Result<Config, Failure> {
        let (config, warnings) = match self {
            Self::Yaml(path, preset) => {
                let mut loaded = files::load(path, Severity::Broken)?;
                if let Some(preset) = preset {
                    preset.apply(&mut loaded.config);
                }
                (loaded.config, loaded.warnings)
            }
            Self::Env(path, preset) => files::load_env(path, *preset)?,
            Self::Made(config) => ((**config).clone(), Vec::new()),
        };
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        Ok(config)
    }

    /// What problems are reported under.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Yaml(path, _) | Self::Env(path, _) => path.display().to_string(),
            Self::Made(_) => "the configuration".to_owned(),
        }
    }

    /// The state of the file.
    pub(crate) fn stamp(&self) -> Stamp {
        match self {
            Self::Yaml(path, _) | Self::Env(path, _) => stamp(path),
            Self::Made(_) => None,
        }
    }
}
