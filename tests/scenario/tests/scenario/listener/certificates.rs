//! Certificate files: what `check` says of them, and new ones while traffic goes on.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use rcgen::{CertificateParams, DnType, KeyPair};
use tidegate_lab::provider::{ProviderOptions, spawn_provider};
use tidegate_scenario::gateway::Gateway;
use tidegate_scenario::llm::{FORMS, providers};
use tidegate_scenario::origin::Origin;
use tidegate_scenario::process::run;
use tidegate_scenario::secure::{Authority, Client, Issued, own_directory};
use tidegate_scenario::until;

use super::{get, listening};

/// Does a new connection see this certificate?
fn shown(client: &Client, gateway: &Gateway, issued: &Issued) -> bool {
    let mut connection = client.open(gateway.address, "app.example");
    connection.shake_hands().unwrap();
    connection.tls.as_ref().unwrap().peer_certificates().unwrap()[0] == issued.der
}

fn put(issued: &Issued, cert: &Path, key: &Path) {
    fs::copy(&issued.cert_file, cert).unwrap();
    fs::copy(&issued.key_file, key).unwrap();
}

#[test]
fn a_changed_file_is_shown_to_new_connections_while_a_stream_goes_on() {
    let authority = Authority::default();
    let [first, second, third] =
        ["one", "two", "three"].map(|file| authority.issue(file, &["app.example"]));
    let files = own_directory("changing");
    let (cert, key) = (files.join("tls.crt"), files.join("tls.key"));
    put(&first, &cert, &key);
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let tls = format!("{{ cert: {}, key: {} }}", cert.display(), key.display());
    let mut gateway = Gateway::start(&format!(
        "listeners: [{{ bind: 127.0.0.1:0, tls: [{tls}] }}]\n{}",
        providers(lab.addr)
    ));
    let client = authority.any_client();
    assert!(shown(&client, &gateway, &first));
    let mut stream = client.open(gateway.address, "app.example");
    stream.send(&FORMS[0].stream_with("lab-tokens-200", "x-lab-interval-ms: 20\r\n"));
    assert!(stream.until_seen(b"data: "));

    put(&second, &cert, &key);
    // A client that resumes its session is shown nothing, so that each look is a new client.
    until("the new one", || shown(&authority.any_client(), &gateway, &second).then_some(()));
    fs::write(&cert, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    let line = gateway.logged("the one before stays");
    assert!(line.contains("listeners[0].tls[0].cert") && line.contains("tls.crt"), "{line}");
    assert!(shown(&authority.any_client(), &gateway, &second));
    put(&third, &cert, &key);
    until("the repaired one", || shown(&authority.any_client(), &gateway, &third).then_some(()));

    let reply = stream.reply();
    assert_eq!((reply.status, reply.complete), (200, true));
    assert!(reply.text().contains("[DONE]"), "{}", reply.text());
}

#[test]
fn a_volume_that_is_swapped_by_a_link_counts_as_a_change() {
    let authority = Authority::default();
    let [first, second] = ["one", "two"].map(|file| authority.issue(file, &["app.example"]));
    // As Kubernetes mounts a secret: tls.crt → ..data/tls.crt, ..data → a dated directory.
    let volume = own_directory("volume");
    for (dated, issued) in [("..1", &first), ("..2", &second)] {
        fs::create_dir(volume.join(dated)).unwrap();
        put(issued, &volume.join(dated).join("tls.crt"), &volume.join(dated).join("tls.key"));
    }
    symlink("..1", volume.join("..data")).unwrap();
    symlink("..data/tls.crt", volume.join("tls.crt")).unwrap();
    symlink("..data/tls.key", volume.join("tls.key")).unwrap();
    let origin = Origin::plain();
    let (cert, key) = (volume.join("tls.crt"), volume.join("tls.key"));
    let tls = format!("tls: [{{ cert: {}, key: {} }}]", cert.display(), key.display());
    let gateway = listening(&[&tls], origin.address, "");
    let client = authority.any_client();
    let mut held = client.open(gateway.address, "app.example");
    assert_eq!(get(&mut held).status, 200);
    assert!(shown(&authority.any_client(), &gateway, &first));
    symlink("..2", volume.join("..new")).unwrap();
    fs::rename(volume.join("..new"), volume.join("..data")).unwrap();
    until("the new one", || shown(&authority.any_client(), &gateway, &second).then_some(()));
    assert_eq!(get(&mut held).status, 200, "the open connection is not touched");
}

/// The output of `tidegate check` for a listener with these files.
fn checked(directory: &Path, cert: &Path, key: &Path) -> (Option<i32>, String) {
    let file = directory.join("tidegate.yaml");
    let yaml = format!(
        "listeners:\n  - bind: 127.0.0.1:8443\n    tls:\n      - cert: {}\n        key: {}\n\
         upstreams: {{ app: {{ endpoints: [\"http://127.0.0.1:1\"] }} }}\n\
         routes: [{{ path: /, upstream: app }}]\n",
        cert.display(),
        key.display()
    );
    run_check(&file, &yaml)
}

fn run_check(file: &Path, yaml: &str) -> (Option<i32>, String) {
    fs::write(file, yaml).unwrap();
    let output = run(&["check", file.to_str().unwrap()]);
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[test]
fn check_says_what_is_wrong_with_each_file_and_where_it_is_named() {
    let authority = Authority::default();
    let directory = authority.directory();
    let good = authority.issue("good", &["app.example"]);
    let other = authority.issue("other", &["app.example"]);
    let file = |name: &str, text: &str| {
        let path = directory.join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let dated = |name: &str, from: (i32, u8, u8), until: (i32, u8, u8), names: Vec<String>| {
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, "app.example");
        params.not_before = rcgen::date_time_ymd(from.0, from.1, from.2);
        params.not_after = rcgen::date_time_ymd(until.0, until.1, until.2);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        (
            file(&format!("{name}.pem"), &certificate.pem()),
            file(&format!("{name}.key"), &key.serialize_pem()),
        )
    };
    let host = || vec!["app.example".to_owned()];
    let expired = dated("expired", (2001, 1, 1), (2002, 1, 1), host());
    let early = dated("early", (2901, 1, 1), (2902, 1, 1), host());
    let nameless = dated("nameless", (2001, 1, 1), (2902, 1, 1), Vec::new());
    let missing = directory.join("missing.pem");
    let empty = file("empty.pem", "");
    let encrypted = file(
        "encrypted.key",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    let (cert, key) = (good.cert_file.clone(), good.key_file.clone());
    for (cert, key, place, words) in [
        (missing.clone(), key.clone(), "4:15: listeners[0].tls[0].cert", "cannot read"),
        (cert.clone(), missing, "5:14: listeners[0].tls[0].key", "cannot read"),
        (empty.clone(), key.clone(), "4:15:", "holds no certificate in PEM form"),
        (cert.clone(), empty, "5:14:", "holds no private key in PEM form"),
        (key.clone(), key.clone(), "4:15:", "holds no certificate in PEM form"),
        (cert.clone(), other.key_file, "5:14:", "does not belong to the first certificate"),
        (cert.clone(), encrypted, "5:14:", "is encrypted"),
        (expired.0, expired.1, "4:15:", "has expired"),
        (early.0, early.1, "4:15:", "is not valid yet"),
        (nameless.0, nameless.1, "4:15:", "names no host"),
    ] {
        let (code, text) = checked(directory, &cert, &key);
        assert_eq!(code, Some(1), "{text}");
        let line = text.lines().find(|line| line.contains(words));
        let line = line.unwrap_or_else(|| panic!("{words:?} in {text}"));
        assert!(line.contains(place), "{place} in {line}");
    }
    let (code, text) = checked(directory, &cert, &key);
    assert_eq!(code, Some(0), "{text}");
    assert!(!text.contains("warning: ") || !text.contains("tls"), "{text}");
}

#[test]
fn check_reads_the_files_for_endpoints_too() {
    let authority = Authority::default();
    let directory = authority.directory();
    let (good, other) = (authority.issue("good", &[]), authority.issue("other", &[]));
    let missing = directory.join("missing.pem");
    let garbage = directory.join("garbage.pem");
    fs::write(&garbage, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    let checked = |ca: &Path, cert: &Path, key: &Path, short: &Path| {
        let yaml = format!(
            "upstreams:\n  app:\n    endpoints: [https://127.0.0.1:1]\n    tls:\n      ca: {}\n      \
             cert: {}\n      key: {}\n  short:\n    endpoints: [https://127.0.0.1:2]\n    ca_file: {}\n\
             providers:\n  p:\n    dialect: openai\n    base_url: https://127.0.0.1:3/v1\n    api_key: none\n    \
             ca_file: {}\nallow_anonymous: true\n\
             routes: [{{ path: /a, upstream: app }}, {{ path: /b, upstream: short }}, {{ path: /v1/, llm: true }}]\n",
            ca.display(),
            cert.display(),
            key.display(),
            short.display(),
            short.display()
        );
        run_check(&directory.join("endpoints.yaml"), &yaml)
    };
    let (ca, cert, key) = (&authority.file, &good.cert_file, &good.key_file);
    for (files, place, words) in [
        ((&missing, cert, key, ca), "5:11: upstreams.app.tls.ca", "cannot read"),
        ((&garbage, cert, key, ca), "5:11: upstreams.app.tls.ca", "no authority"),
        ((ca, &missing, key, ca), "6:13: upstreams.app.tls.cert", "cannot read"),
        ((ca, cert, &missing, ca), "7:12: upstreams.app.tls.key", "cannot read"),
        ((ca, cert, &other.key_file, ca), "7:12: upstreams.app.tls.key", "does not belong"),
        ((ca, cert, key, &missing), "10:14: upstreams.short.ca_file", "cannot read"),
        ((ca, cert, key, &missing), "16:14: providers.p.ca_file", "cannot read"),
    ] {
        let (code, text) = checked(files.0, files.1, files.2, files.3);
        assert_eq!(code, Some(1), "{text}");
        let found = |line: &&str| line.contains(place) && line.contains(words);
        assert!(text.lines().any(|line| found(&line)), "{place} {words} in {text}");
    }
    // Nobody looks at the names of a certificate that is shown to endpoints.
    let (code, text) = checked(ca, cert, key, ca);
    assert_eq!(code, Some(0), "{text}");
}
