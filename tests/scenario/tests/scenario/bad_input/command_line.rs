//! The command line: exit codes, and every problem of a file at once, each with its place.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tidegate_scenario::gateway::binary;

/// A directory of this test's own.
struct Files(PathBuf);

impl Files {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tidegate-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs the binary to its end: exit code, stdout, stderr.
fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(binary())
        .args(arguments)
        .stdin(Stdio::null())
        .env_remove("TIDEGATE_NO_SUCH_VARIABLE")
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

fn check(path: &std::path::Path) -> (i32, String, String) {
    run(&["check", path.to_str().unwrap()])
}

#[test]
fn a_sound_file_is_checked_with_exit_0_and_the_budget() {
    let files = Files::new("sound");
    let path = files.write(
        "a.yaml",
        b"callers: [{ name: dev, key: sk-0123456789abcdef }]\n\
          providers: { local: { dialect: openai, base_url: http://127.0.0.1:9/v1, api_key: none } }\n",
    );
    let (code, out, err) = check(&path);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(
        out.contains("no problems") && out.contains("memory") && out.contains("files"),
        "{out}"
    );
}

#[test]
fn every_problem_is_reported_at_once_with_file_line_and_column() {
    let files = Files::new("problems");
    let path = files.write(
        "a.yaml",
        b"listeners:\n  - bnd: 127.0.0.1:1\nlimits:\n  requests: many\n  memory: 1XB\n\
          routes:\n  - { path: /, upstream: ap }\nupstreams:\n  app: { endpoints: [http://127.0.0.1:9] }\n\
          timeouts: { connect: 5 parsecs }\n",
    );
    let (code, _, err) = check(&path);
    assert_eq!(code, 1, "{err}");
    let name = path.to_str().unwrap();
    for (line, words) in [
        (2, "bind"),
        (4, "limits.requests"),
        (5, "limits.memory"),
        (7, "did you mean \"app\""),
        (10, "timeouts.connect"),
    ] {
        let place = format!("{name}:{line}:");
        let found = err.lines().any(|told| told.starts_with(&place) && told.contains(words));
        assert!(found, "{place} … {words} in:\n{err}");
    }
}

#[test]
fn a_missing_variable_names_its_line() {
    let files = Files::new("variable");
    let path = files
        .write("a.yaml", b"callers:\n  - name: dev\n    key: \"${TIDEGATE_NO_SUCH_VARIABLE}\"\n");
    let (code, _, err) = check(&path);
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("a.yaml:3:") && err.contains("TIDEGATE_NO_SUCH_VARIABLE"), "{err}");
}

#[test]
fn files_that_cannot_be_a_configuration_are_refused_with_exit_1() {
    let files = Files::new("unreadable");
    let large = vec![b'#'; (1 << 20) + 10];
    for (name, bytes, words) in [
        ("large.yaml", &large[..], "1048576"),
        ("latin1.yaml", b"listeners: []\nlog: \xe9\n", ":2:6"),
        ("list.yaml", b"- 1\n- 2\n", "list.yaml:1:1"),
        ("broken.yaml", b"listeners: [\n", "broken.yaml:"),
        ("aliases.yaml", b"a: &a [x]\nb: *a\n", "aliases.yaml:"),
        ("twice.yaml", b"limits: {}\nlimits: {}\n", "twice.yaml:2:1"),
    ] {
        let path = files.write(name, bytes);
        let (code, out, err) = check(&path);
        assert_eq!(code, 1, "{name}: {out}{err}");
        assert!(err.contains(words), "{name}: {err}");
        let (code, _, err) = run(&["serve", "--config", path.to_str().unwrap()]);
        assert_eq!(code, 1, "{name}: {err}");
    }
    let missing = files.0.join("missing.yaml");
    let (code, _, err) = check(&missing);
    assert_eq!(code, 1);
    assert!(err.contains("missing.yaml"), "{err}");
    let (code, _, err) = check(&files.0);
    assert_eq!(code, 1, "a directory: {err}");
}

#[test]
fn a_bad_command_line_exits_with_1_and_says_so() {
    for arguments in [
        &["serve"][..],
        &["serve", "--config"],
        &["serve", "--config", "a", "--env-file", "b"],
        &["serve", "--nonsense"],
        &["chekc"],
        &["check"],
        &["bench"],
        &["quickstart", "--bind", "nowhere"],
        &[],
    ] {
        let (code, out, err) = run(arguments);
        assert_eq!(code, 1, "{arguments:?}: {err}");
        assert!(out.is_empty() && !err.is_empty(), "{arguments:?}: {out}");
    }
    for arguments in [&["--help"][..], &["--version"], &["serve", "--help"]] {
        assert_eq!(run(arguments).0, 0, "{arguments:?}");
    }
}

#[test]
fn the_version_is_one_line_and_names_a_build_that_is_no_plain_release() {
    let (_, out, _) = run(&["--version"]);
    let lines = ["", " (debug)", " (profile-guided)"]
        .map(|build| format!("tidegate {}{build}\n", env!("CARGO_PKG_VERSION")));
    assert!(lines.contains(&out), "{out:?}");
}

#[test]
fn an_address_in_use_is_the_users_mistake_and_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let files = Files::new("taken");
    let text = format!(
        "listeners: [{{ bind: {address} }}]\nupstreams: {{ app: {{ endpoints: [http://127.0.0.1:9] }} }}\n\
         routes: [{{ path: /, upstream: app }}]\n"
    );
    let path = files.write("a.yaml", text.as_bytes());
    let (code, _, err) = run(&["serve", "--config", path.to_str().unwrap()]);
    assert_eq!(code, 1, "{err}");
    assert!(err.contains(&address.to_string()), "{err}");
}
