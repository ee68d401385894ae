//! The first start: from a `.env` file, from its import, from nothing at all.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::process::Command;

use tidegate_lab::provider::{ProviderOptions, spawn_provider};
use tidegate_scenario::http::{Connection, get, llm_call};
use tidegate_scenario::llm::CHAT;
use tidegate_scenario::process::{Running, directory, run, tidegate};

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A `.env` file with these mirrors; `more` is appended.
fn env_file(port: u16, mirrors: &[SocketAddr], more: &str) -> String {
    let mirrors: Vec<String> =
        mirrors.iter().map(|mirror| format!("http://{mirror}/v1/chat/completions")).collect();
    let path = directory().join(format!("{port}.env"));
    let text = format!(
        "# the old file, as it was\nPORT={port}\nDEEPINFRA_MIRRORS=\"{}\"\nPERFORMANCE_MODE=fast\n{more}",
        mirrors.join(",")
    );
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn an_env_file_serves_and_fails_over_between_its_mirrors() {
    let labs = [0, 1].map(|_| spawn_provider(ProviderOptions::default()).unwrap());
    let port = free_port();
    let file = env_file(
        port,
        &[labs[0].addr, labs[1].addr],
        "VALID_API_KEYS=sk-old-key-000001, sk-old-key-000002\nMAX_CONCURRENT_CONNECTIONS=77\n",
    );
    let mut gateway = Running::start(&mut tidegate(&["serve", "--env-file", &file]));
    gateway.says("listening on http://");
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    assert_eq!(get(address, "/status").json()["max_connections"], 77);
    let ask = |key: &str| {
        let call = llm_call(CHAT.path, key, &CHAT.body("lab-echo", false));
        Connection::open(address).send(&call).reply()
    };
    for _ in 0..20 {
        assert_eq!(ask("sk-old-key-000001").status, 200);
    }
    assert_eq!(ask("sk-another-00001").status, 401);
    labs[0].stop();
    for _ in 0..20 {
        assert_eq!(ask("sk-old-key-000002").status, 200);
    }
    labs[1].stop();
    assert_eq!(ask("sk-old-key-000002").status, 502);
}

#[test]
fn an_imported_file_passes_the_check_and_says_the_same() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let port = free_port();
    let file = env_file(port, &[lab.addr], "VALID_API_KEYS=sk-old-key-000001\n");
    let import = run(&["import", "env", &file]);
    assert!(import.status.success(), "{}", String::from_utf8_lossy(&import.stderr));
    let yaml = directory().join("imported.yaml");
    fs::write(&yaml, &import.stdout).unwrap();
    let yaml = yaml.to_str().unwrap();
    // Keys stay out of the file: it names the variables.
    let keys = ("VALID_API_KEYS", "sk-old-key-000001");
    assert!(!String::from_utf8_lossy(&import.stdout).contains(keys.1));
    let check = tidegate(&["check", yaml]).env(keys.0, keys.1).output().unwrap();
    assert_eq!(check.status.code(), Some(0), "{}", String::from_utf8_lossy(&check.stderr));
    let mut gateway = Running::start(tidegate(&["serve", "--config", yaml]).env(keys.0, keys.1));
    gateway.says("listening on http://");
    let call = llm_call(CHAT.path, "sk-old-key-000001", &CHAT.body("lab-echo", false));
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    assert_eq!(Connection::open(address).send(&call).reply().status, 200);
}

#[test]
fn a_preset_sets_the_numbers_that_the_file_leaves_open() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let port = free_port();
    let file = env_file(port, &[lab.addr], "VALID_API_KEYS=sk-old-key-000001\n");
    let mut gateway =
        Running::start(&mut tidegate(&["serve", "--env-file", &file, "--preset", "standard"]));
    gateway.says("listening on http://");
    let status = get(SocketAddr::from(([127, 0, 0, 1], port)), "/status").json();
    assert_eq!(
        (&status["max_connections"], &status["memory_limit_mb"]),
        (&500.into(), &1024.into())
    );
    let unknown = run(&["serve", "--env-file", &file, "--preset", "standart"]);
    assert_eq!(unknown.status.code(), Some(1));
    let told = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(told.contains("did you mean \"standard\"?"), "{told}");
}

#[test]
fn without_keys_of_callers_an_env_file_is_refused() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    for keys in ["", "VALID_API_KEYS=\n"] {
        let file = env_file(free_port(), &[lab.addr], keys);
        let refused = run(&["serve", "--env-file", &file]);
        assert_eq!(refused.status.code(), Some(1));
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(told.contains("VALID_API_KEYS"), "it says what to set: {told}");
    }
}

/// The command that a greeting shows, as one text for a shell.
fn shown_curl(said: &[String]) -> String {
    let from = said.iter().position(|line| line.trim_start().starts_with("curl ")).unwrap();
    let mut command = String::new();
    for line in &said[from..] {
        command.push_str(line);
        command.push('\n');
        if !line.ends_with('\\') {
            break;
        }
    }
    command
}

#[test]
fn quickstart_shows_a_curl_that_works_and_says_who_answers() {
    let bind = format!("127.0.0.1:{}", free_port());
    let mut gateway = Running::start(&mut tidegate(&["quickstart", "--bind", &bind]));
    gateway.says("Ctrl-C");
    let text = gateway.said.join("\n");
    assert!(text.contains(&format!("http://{bind}/v1")), "{text}");
    assert!(text.contains("Provider  the built-in lab provider"), "{text}");
    let output =
        Command::new("sh").arg("-c").arg(shown_curl(&gateway.said)).output().expect("sh runs");
    let streamed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(streamed.ends_with("data: [DONE]\n\n"), "{streamed}{output:?}");
    let key =
        text.lines().find_map(|line| line.trim().strip_prefix("Key")).unwrap().trim().to_owned();
    assert!(key.len() > 30 && key.starts_with("sk-"), "{key}");
}

#[test]
fn quickstart_finds_the_key_of_a_vendor() {
    let bind = format!("127.0.0.1:{}", free_port());
    let mut command = tidegate(&["quickstart", "--bind", &bind]);
    command.env("OPENAI_API_KEY", "sk-of-a-vendor-0001");
    let mut gateway = Running::start(&mut command);
    gateway.says("Ctrl-C");
    let text = gateway.said.join("\n");
    assert!(text.contains("Provider  openai"), "{text}");
    assert!(!text.contains("sk-of-a-vendor-0001"), "the vendor's key is not shown: {text}");
}
