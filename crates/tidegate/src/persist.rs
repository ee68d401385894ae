//! The configuration file, written whole or not at all, and the versions that it had before.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use tidegate_control::Version;

/// Earlier versions that are kept beside the file, in `FILE.history/`.
const VERSIONS_MAX: usize = 10;

/// Puts `text` in the place of the file's content: whoever reads it sees the old or the new, also
/// after a crash. `before` goes into the history. Links are followed, the mode is kept.
pub(crate) fn replace(path: &Path, before: &str, text: &str) -> io::Result<()> {
    let path = fs::canonicalize(path)?;
    let mode = fs::metadata(&path)?.permissions().mode();
    keep(&path, before, mode)?;
    let temporary = beside(&path, &format!(".{}.new", std::process::id()));
    let written = write_new(&temporary, text, mode).and_then(|()| fs::rename(&temporary, &path));
    if written.is_err() {
        // What cannot be removed was never made.
        let _ = fs::remove_file(&temporary);
    }
    written?;
    sync_directory(&path)
}

/// The versions of the file that changes have replaced, the newest first.
pub(crate) fn versions(path: &Path) -> Vec<Version> {
    let Ok(path) = fs::canonicalize(path) else { return Vec::new() };
    let Ok(entries) = fs::read_dir(beside(&path, ".history")) else { return Vec::new() };
    let mut versions: Vec<Version> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let name = entry.file_name().into_string().ok()?;
            let id = name.strip_suffix(".yaml").filter(|id| is_id(id))?;
            let (seconds, _) = id.split_once('-')?;
            let bytes = entry.metadata().ok()?.len();
            Some(Version { id: id.to_owned(), replaced_at: seconds.parse().ok()?, bytes })
        })
        .collect();
    versions.sort_by_key(|version| std::cmp::Reverse(order(&version.id)));
    versions
}

/// Where the version with this id is; None for what is no id.
pub(crate) fn version(path: &Path, id: &str) -> Option<PathBuf> {
    let path = fs::canonicalize(path).ok()?;
    is_id(id).then(|| beside(&path, ".history").join(format!("{id}.yaml")))
}

/// Two numbers: the second and the count within it.
fn is_id(id: &str) -> bool {
    let digits =
        |text: &str| (1..=20).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    id.split_once('-').is_some_and(|(second, count)| digits(second) && digits(count))
}

fn order(id: &str) -> (u64, u64) {
    let number = |text: &str| text.parse().unwrap_or(0);
    id.split_once('-').map_or((0, 0), |(second, count)| (number(second), number(count)))
}

/// A name beside the file that begins with its own.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().map_or_else(OsString::new, ToOwned::to_owned);
    name.push(ending);
    path.with_file_name(name)
}

fn keep(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let directory = beside(path, ".history");
    // A version may hold what the file's mode hides.
    match fs::DirBuilder::new().mode(0o700).create(&directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    // Behind the newest, whatever the clock says: the order of the versions is that of the changes.
    let id = match versions(path).first().map(|newest| order(&newest.id)) {
        Some((second, count)) if second >= now => format!("{second}-{}", count + 1),
        _ => format!("{now}-0"),
    };
    write_new(&directory.join(format!("{id}.yaml")), text, mode)?;
    for old in versions(path).iter().skip(VERSIONS_MAX) {
        if let Err(error) = fs::remove_file(directory.join(format!("{}.yaml", old.id))) {
            tracing::warn!(%error, version = old.id, "cannot remove an old version of the configuration");
        }
    }
    Ok(())
}

fn write_new(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode & 0o777).open(path)?;
    // The mask of the process may have taken something away.
    file.set_permissions(fs::Permissions::from_mode(mode & 0o777))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// The name is on the disk when its directory is.
fn sync_directory(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn directory(name: &str) -> PathBuf {
        let path =
            std::env::temp_dir().join(format!("tidegate-persist-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn a_replaced_file_keeps_its_mode_and_ten_versions() {
        let directory = directory("versions");
        let path = directory.join("t.yaml");
        fs::write(&path, "0").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        for number in 0..13 {
            replace(&path, &number.to_string(), &(number + 1).to_string()).unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "13");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        let kept = versions(&path);
        assert_eq!(kept.len(), VERSIONS_MAX);
        let newest = version(&path, &kept[0].id).unwrap();
        assert_eq!(fs::read_to_string(&newest).unwrap(), "12");
        assert_eq!(fs::metadata(&newest).unwrap().permissions().mode() & 0o777, 0o640);
        let left: Vec<_> =
            fs::read_dir(&directory).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left.len(), 2, "the file and its history: {left:?}");
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_link_stays_one() {
        let directory = directory("link");
        fs::create_dir(directory.join("real")).unwrap();
        fs::write(directory.join("real/t.yaml"), "a").unwrap();
        let link = directory.join("link.yaml");
        std::os::unix::fs::symlink("real/t.yaml", &link).unwrap();
        replace(&link, "a", "b").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(directory.join("real/t.yaml")).unwrap(), "b");
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn only_two_numbers_are_an_id() {
        let here = std::env::temp_dir();
        assert!(version(&here, "12-0").is_some());
        for id in ["", "12", "../12-0", "12-0/..", "a-0", "12-", "-1"] {
            assert_eq!(version(&here, id), None, "{id}");
        }
    }
}
