//! Reading and renaming multipart request bodies.

use proptest::prelude::*;
use tidegate_dialect::{FormError, FormFacts, rename_form_model, renamed_form_len, scan_form};

const TYPE: &[u8] = b"multipart/form-data; boundary=XyZ";

fn part(name: &str, value: &str) -> String {
    format!("--XyZ\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
}

fn audio() -> String {
    "--XyZ\r\nContent-Disposition: form-data; name=\"file\"; filename=\"model\"\r\nContent-Type: audio/wav\r\n\r\n\
     RIFF\0\r\n--Xy not the boundary\r\n\r\n"
        .to_owned()
}

fn form(parts: &[String]) -> String {
    format!("{}--XyZ--\r\n", parts.concat())
}

fn scan(body: &str) -> Result<FormFacts, FormError> {
    scan_form(TYPE, body.as_bytes())
}

#[test]
fn model_and_stream_are_read_around_a_file() {
    let body = form(&[audio(), part("model", "whisper-1"), part("stream", "True")]);
    let facts = scan(&body).unwrap();
    assert_eq!(facts.model.as_deref(), Some("whisper-1"));
    assert_eq!(&body[facts.model_span.clone()], "whisper-1");
    assert!(facts.stream);
}

#[test]
fn form_without_model_is_no_error() {
    let body = form(&[audio(), part("stream", "false")]);
    let facts = scan(&body).unwrap();
    assert_eq!((facts.model.as_deref(), facts.stream), (None, false));
    let mut out = Vec::new();
    rename_form_model(body.as_bytes(), &facts, "x", &mut out);
    assert_eq!(out, body.as_bytes());
    assert_eq!(renamed_form_len(body.as_bytes(), &facts, "x"), out.len());
}

#[test]
fn file_named_model_is_not_the_model() {
    let body =
        "--XyZ\r\nContent-Disposition: form-data; name=model; filename=\"a\"\r\n\r\nx\r\n--XyZ--";
    assert_eq!(scan(body).unwrap().model, None);
}

#[test]
fn spelling_of_heads_is_free_where_the_rfc_leaves_it_free() {
    for head in [
        "content-disposition:form-data;name=model",
        "CONTENT-DISPOSITION: Form-Data ; NAME = \"model\" ;",
        "Content-Type: text/plain; charset=\"a;b\\\"\"\r\nContent-Disposition: form-data; x=\"\\\";name=no\"; name=\"model\"",
    ] {
        let body = format!("preamble\r\n--XyZ \t\r\n{head}\r\n\r\nm\r\n--XyZ--epilogue");
        assert_eq!(scan(&body).unwrap().model.as_deref(), Some("m"), "{head}");
    }
}

#[test]
fn boundary_may_be_quoted_and_hold_any_legal_character() {
    let kind = b"Multipart/Form-Data; charset=utf-8; boundary=\"a b'()+_,-./:=?9\"";
    let body = b"--a b'()+_,-./:=?9\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--a b'()+_,-./:=?9--";
    assert_eq!(scan_form(kind, body).unwrap().model.as_deref(), Some("m"));
}

#[test]
fn content_type_without_a_valid_boundary_is_refused() {
    for kind in ["application/json", "", "multipart/mixed; boundary=x"] {
        assert_eq!(scan_form(kind.as_bytes(), b"--x--"), Err(FormError::NotAForm), "{kind}");
    }
    let long = format!("multipart/form-data; boundary={}", "x".repeat(71));
    for kind in [
        "multipart/form-data",
        "multipart/form-data; boundary",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=\"x",
        "multipart/form-data; boundary=\"x \"",
        "multipart/form-data; boundary=a\tb",
        "multipart/form-data; boundary=a; boundary=b",
        "multipart/form-data; boundary=\"a\" b",
        long.as_str(),
    ] {
        assert_eq!(scan_form(kind.as_bytes(), b"--x--"), Err(FormError::Boundary), "{kind}");
    }
}

#[test]
fn damaged_bodies_are_refused() {
    assert_eq!(scan(""), Err(FormError::NoParts));
    assert_eq!(scan("{\"model\":\"x\"}"), Err(FormError::NoParts));
    assert_eq!(scan("--XyZ"), Err(FormError::CutOff { offset: 5 }));
    assert_eq!(scan("--XyZ\r\n"), Err(FormError::CutOff { offset: 7 }));
    assert_eq!(scan(&part("model", "m")), Err(FormError::CutOff { offset: 7 }));
    assert_eq!(
        scan("--XyZ\r\nno colon\r\n\r\nv\r\n--XyZ--"),
        Err(FormError::PartHead { offset: 7 })
    );
    assert_eq!(scan("--XyZ\r\nA: no end\r\n--XyZ--"), Err(FormError::PartHead { offset: 7 }));
    assert_eq!(scan("--XyZW\r\nA: b\r\n\r\nv\r\n--XyZ--"), Err(FormError::PartHead { offset: 5 }));
    let long = format!("--XyZ\r\nA: {}\r\n\r\nv\r\n--XyZ--", "b".repeat(9000));
    assert_eq!(scan(&long), Err(FormError::PartHead { offset: 7 }));
}

#[test]
fn repeated_fields_are_refused() {
    let twice = |name| scan(&form(&[part(name, "a"), part(name, "b")]));
    assert_eq!(twice("model"), Err(FormError::Repeated("model")));
    assert_eq!(twice("stream"), Err(FormError::Repeated("stream")));
    assert!(twice("include[]").is_ok());
}

#[test]
fn more_than_256_parts_are_refused() {
    let parts = |count: usize| form(&vec![part("x", "y"); count]);
    assert!(scan(&parts(256)).is_ok());
    assert_eq!(scan(&parts(257)), Err(FormError::TooManyParts));
}

#[test]
fn model_that_is_too_long_or_no_text_is_refused() {
    let long = scan(&form(&[part("model", &"m".repeat(256))])).unwrap_err();
    assert_eq!(long.to_string(), "the field 'model' is longer than 255 bytes");
    let body = b"--XyZ\r\nContent-Disposition: form-data; name=model\r\n\r\n\xFF\r\n--XyZ--";
    assert!(matches!(scan_form(TYPE, body), Err(FormError::Model(_))));
}

proptest! {
    #[test]
    fn renaming_changes_the_value_and_no_other_byte(
        before in "[a-zA-Z0-9 \\r\\n-]{0,80}", model in "[a-z0-9/.-]{0,30}", after in "\\PC{0,40}", to in "[a-z0-9/.][ -~]{0,40}",
    ) {
        let body = form(&[part("prompt", &before), part("model", &model), part("language", &after)]);
        let facts = scan(&body).unwrap();
        prop_assert_eq!(facts.model.as_deref(), Some(model.as_str()));
        let mut out = Vec::new();
        rename_form_model(body.as_bytes(), &facts, &to, &mut out);
        prop_assert_eq!(out.len(), renamed_form_len(body.as_bytes(), &facts, &to));
        let expected = form(&[part("prompt", &before), part("model", &to), part("language", &after)]);
        prop_assert_eq!(out, expected.into_bytes());
    }

    #[test]
    fn new_name_cannot_end_the_part(to in "[a-z\\r\\n-]{0,20}") {
        let body = form(&[part("model", "m")]);
        let mut out = Vec::new();
        rename_form_model(body.as_bytes(), &scan(&body).unwrap(), &format!("{to}\r\n--XyZ--"), &mut out);
        let again = scan_form(TYPE, &out).unwrap();
        prop_assert_eq!(again.model.as_deref().map(|name| name.ends_with("XyZ--")), Some(true));
    }

    #[test]
    fn damaged_forms_are_read_without_panic(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), any::<bool>()), 1..6),
    ) {
        let mut body = form(&[audio(), part("model", "m"), part("stream", "1")]).into_bytes();
        for (at, byte, insert) in edits {
            let at = at.index(body.len());
            if insert { body.insert(at, byte) } else { body[at] = byte }
        }
        if let Ok(facts) = scan_form(TYPE, &body) {
            let span = body.get(facts.model_span);
            prop_assert!(span.is_some());
            prop_assert_eq!(facts.model.map(|name| name.as_bytes().to_vec()).unwrap_or_default(), span.unwrap());
        }
    }

    #[test]
    fn any_bytes_are_read_without_panic(kind in prop::collection::vec(any::<u8>(), 0..40), body in prop::collection::vec(any::<u8>(), 0..120)) {
        prop_assert!(scan_form(&kind, &body).is_err());
        // Without its boundary in it no body is a form.
        prop_assert!(scan_form(b"multipart/form-data; boundary=0123456789abcdef", &body).is_err());
    }
}
