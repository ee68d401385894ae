//! Changes that the admin API asks for: the same way as a reload of the file, and back into the
//! file.

use std::path::Path;
use std::sync::Arc;

use tidegate_config::speedmimi::{backend_patch, patch};
use tidegate_config::{
    Config, EditError, Preset, Problems, Secret, differences, edited, load, to_yaml,
};
use tidegate_control::{Applied, Change, ChangeError, ChangeOrder, ChangeProblem, Order};
use tidegate_snapshot::tls::Severity;

use crate::reload::Origin;
use crate::serve::Server;
use crate::{Failure, files, persist};

/// A text and the configuration that it means.
struct Draft {
    text: String,
    config: Config,
    warnings: Vec<String>,
}

impl Server {
    /// Carries out one order. True when the source has been written or read: its state is known.
    pub(crate) fn obey(&mut self, origin: &Origin, order: Order) -> bool {
        match order {
            Order::Wake => {
                self.gateway.wake();
                false
            }
            Order::History(reply) => {
                // Whoever asked may have gone.
                let _ = reply.send(match origin {
                    Origin::Yaml(path, _) => persist::versions(path),
                    _ => Vec::new(),
                });
                false
            }
            Order::Change(ChangeOrder { change, dry_run, reply }) => {
                let outcome = self.change(origin, change, dry_run);
                if let Err(error) = &outcome {
                    tracing::warn!("a change was not made: {error}");
                }
                let read = outcome.is_ok() && !dry_run;
                let _ = reply.send(outcome);
                read
            }
        }
    }

    fn change(
        &mut self,
        origin: &Origin,
        change: Change,
        dry_run: bool,
    ) -> Result<Applied, ChangeError> {
        match change {
            Change::ReloadTls => {
                let applied = Applied {
                    why: Some("nothing is written: only certificates were read".to_owned()),
                    ..Applied::default()
                };
                self.reload_certificates(dry_run, applied)
            }
            Change::Reload => {
                let config = origin.load().map_err(told)?;
                let applied = Applied { persisted: true, ..Applied::default() };
                if !dry_run {
                    self.memory = None;
                }
                self.apply(config, None, dry_run, applied)
            }
            Change::Revert(id) => {
                let Origin::Yaml(path, preset) = origin else {
                    return Err(ChangeError::Missing(
                        "there is no configuration file, and so no version of it".to_owned(),
                    ));
                };
                let before = text_of(path)?;
                let id = id
                    .or_else(|| persist::versions(path).first().map(|version| version.id.clone()))
                    .ok_or_else(|| {
                        ChangeError::Missing("there is no earlier version".to_owned())
                    })?;
                let version = persist::version(path, &id)
                    .filter(|version| version.is_file())
                    .ok_or_else(|| {
                        ChangeError::Missing(format!(
                            "there is no version {id:?}: GET /api/v1/config/history lists them"
                        ))
                    })?;
                let draft = drafted(text_of(&version)?, *preset, "the earlier version")?;
                self.apply_text(path, &before, draft, dry_run, &[])
            }
            Change::Patch(patch) => self.edit(origin, dry_run, |_| Ok((patch, Vec::new()))),
            Change::Document(document) => self.edit(origin, dry_run, |config| {
                patch(config, &document)
                    .map(|patched| (patched.patch, patched.warnings))
                    .map_err(refused)
            }),
            Change::Backend(change) => self.edit(origin, dry_run, |config| {
                backend_patch(config, &change).map(|patch| (patch, Vec::new())).map_err(
                    |problems| match problems.as_slice() {
                        [(path, message)]
                            if matches!(path.as_str(), "upstream_id" | "backend_id")
                                && message.contains("no ") =>
                        {
                            ChangeError::Missing(message.clone())
                        }
                        _ => refused(problems),
                    },
                )
            }),
        }
    }

    /// Changes the text that the configuration comes from.
    fn edit(
        &mut self,
        origin: &Origin,
        dry_run: bool,
        patch: impl FnOnce(&Config) -> Result<(serde_json::Value, Vec<(String, String)>), ChangeError>,
    ) -> Result<Applied, ChangeError> {
        let before = match origin {
            Origin::Yaml(path, _) => text_of(path)?,
            // What is not in a YAML file is changed in one that only we have.
            _ => {
                self.memory.clone().unwrap_or_else(|| to_yaml(&without_references(&self.config())))
            }
        };
        let name = origin.name();
        let written = load(&before, &name, &files::environment).map_err(listed)?.config;
        let (patch, warnings) = patch(&written)?;
        let text = edited(&before, &written, &patch).map_err(|error| match error {
            EditError::Patch { path, message } => refused(vec![(path, message)]),
            EditError::Text(message) => ChangeError::Failed(message),
        })?;
        match origin {
            Origin::Yaml(path, preset) => {
                let draft = drafted(text, *preset, &name)?;
                self.apply_text(path, &before, draft, dry_run, &warnings)
            }
            _ => {
                let draft = drafted(text, None, &name)?;
                let applied = Applied {
                    warnings: lines(&warnings, draft.warnings),
                    why: Some(
                        "the configuration does not come from a YAML file: the change lasts until the next reload or start"
                            .to_owned(),
                    ),
                    ..Applied::default()
                };
                let applied = self.apply(draft.config, None, dry_run, applied)?;
                if !dry_run {
                    self.memory = Some(draft.text);
                }
                Ok(applied)
            }
        }
    }

    /// Puts a changed text of the file in force and writes it.
    fn apply_text(
        &mut self,
        path: &Path,
        before: &str,
        draft: Draft,
        dry_run: bool,
        warnings: &[(String, String)],
    ) -> Result<Applied, ChangeError> {
        let applied = Applied {
            warnings: lines(warnings, draft.warnings),
            persisted: true,
            ..Applied::default()
        };
        let write = || {
            if draft.text == before {
                return Ok(());
            }
            persist::replace(path, before, &draft.text).map_err(|error| {
                ChangeError::Failed(format!(
                    "nothing has changed, because {} cannot be written: {error}",
                    path.display()
                ))
            })
        };
        self.apply(draft.config, Some(&write), dry_run, applied)
    }

    /// Reads the certificates of the configuration in force anew: all of them, or none.
    fn reload_certificates(
        &mut self,
        dry_run: bool,
        mut applied: Applied,
    ) -> Result<Applied, ChangeError> {
        let prepared = self.prepare(self.config()).map_err(ChangeError::Failed)?;
        let complaints = prepared.complaints();
        if !complaints.is_empty() {
            return Err(refused(
                complaints.into_iter().map(|text| (String::new(), text)).collect(),
            ));
        }
        if !dry_run {
            self.put_in_force(prepared);
        }
        applied.generation = self.generation();
        Ok(applied)
    }

    /// Compiles and binds, then writes, then swaps: what fails, fails before anything is changed.
    fn apply(
        &mut self,
        config: Config,
        write: Option<&dyn Fn() -> Result<(), ChangeError>>,
        dry_run: bool,
        mut applied: Applied,
    ) -> Result<Applied, ChangeError> {
        let before = self.config();
        applied.changed = *before != config;
        applied.differences = differences(&before, &config);
        let mut prepared = None;
        if applied.changed {
            let ready = self.prepare(Arc::new(config)).map_err(ChangeError::Failed)?;
            applied.warnings.extend(ready.complaints());
            prepared = Some(ready);
        }
        if dry_run {
            applied.persisted = false;
            applied.why = Some("this was a dry run".to_owned());
        } else {
            if let Some(write) = write {
                write()?;
            }
            if let Some(prepared) = prepared {
                self.put_in_force(prepared);
            }
        }
        applied.generation = self.generation();
        Ok(applied)
    }
}

fn text_of(path: &Path) -> Result<String, ChangeError> {
    let bytes = files::read(path).map_err(told)?;
    String::from_utf8(bytes)
        .map_err(|_| ChangeError::Failed(format!("{} is not UTF-8 text", path.display())))
}

fn drafted(text: String, preset: Option<Preset>, name: &str) -> Result<Draft, ChangeError> {
    let mut loaded = files::load_text(text.as_bytes(), name, Severity::Broken).map_err(listed)?;
    if let Some(preset) = preset {
        preset.apply(&mut loaded.config);
    }
    let warnings = loaded.warnings.iter().map(ToString::to_string).collect();
    Ok(Draft { text, config: loaded.config, warnings })
}

fn lines(warnings: &[(String, String)], more: Vec<String>) -> Vec<String> {
    warnings.iter().map(|(path, message)| format!("{path}: {message}")).chain(more).collect()
}

fn refused(problems: Vec<(String, String)>) -> ChangeError {
    ChangeError::Refused(
        problems.into_iter().map(|(path, message)| ChangeProblem { path, message }).collect(),
    )
}

fn listed(problems: Problems) -> ChangeError {
    let problems = problems.0.into_iter().map(|problem| {
        let message = match &problem.suggestion {
            Some(suggestion) => format!("{}; did you mean \"{suggestion}\"?", problem.message),
            None => problem.message,
        };
        (problem.path, message)
    });
    refused(problems.collect())
}

fn told(failure: Failure) -> ChangeError {
    match failure {
        Failure::User(text) => refused(vec![(String::new(), text)]),
        Failure::Internal(error) => ChangeError::Failed(format!("{error:#}")),
    }
}

/// The configuration with its secrets written out: for a text that nobody but us sees. What they
/// referred to is no longer known to the environment.
fn without_references(config: &Config) -> Config {
    let mut config = config.clone();
    let plain = |secret: &mut Secret| *secret = Secret::new(secret.expose());
    for caller in &mut config.callers {
        plain(&mut caller.key);
    }
    for provider in config.providers.values_mut() {
        provider.api_key.iter_mut().for_each(plain);
    }
    if let Some(admin) = &mut config.admin {
        // The printer writes this one by its reference only.
        if let Some(token) = &mut admin.token {
            *token = Secret::referring(token.expose(), token.expose().replace("${", "$${"));
        }
        for more in &mut admin.tokens {
            plain(&mut more.token);
        }
    }
    config
}
