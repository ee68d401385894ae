//! Reads a multipart/form-data body (RFC 7578): the parts with their names, file names and contents.

use memchr::memmem;

/// More parts than any API call has.
const PARTS_MAX: usize = 64;

/// One part of a form.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Part<'a> {
    /// The field's name.
    pub(crate) name: &'a str,
    /// The file's name, when the part is a file.
    pub(crate) file_name: Option<&'a str>,
    /// The bytes between the part's head and the next boundary.
    pub(crate) content: &'a [u8],
}

/// The parts of `body`, whose content type is `content_type`. `None` when it is not a well-formed, closed form of at
/// most 64 parts.
pub(crate) fn parts<'a>(content_type: &str, body: &'a [u8]) -> Option<Vec<Part<'a>>> {
    let (kind, parameters) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let boundary = parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("boundary").then(|| value.trim().trim_matches('"'))
    })?;
    let opening = format!("--{boundary}");
    let separator = format!("\r\n--{boundary}");
    let mut rest = body.strip_prefix(opening.as_bytes())?;
    let mut found = Vec::new();
    while let Some(part) = rest.strip_prefix(b"\r\n") {
        if found.len() == PARTS_MAX {
            return None;
        }
        let end = memmem::find(part, separator.as_bytes())?;
        found.push(part_of(part.get(..end)?)?);
        rest = part.get(end + separator.len()..)?;
    }
    rest.starts_with(b"--").then_some(found)
}

fn part_of(bytes: &[u8]) -> Option<Part<'_>> {
    let head_end = memmem::find(bytes, b"\r\n\r\n")?;
    let head = std::str::from_utf8(bytes.get(..head_end)?).ok()?;
    let disposition = head.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-disposition").then_some(value)
    })?;
    Some(Part {
        name: parameter(disposition, "name")?,
        file_name: parameter(disposition, "filename"),
        content: bytes.get(head_end + 4..)?,
    })
}

fn parameter<'a>(disposition: &'a str, wanted: &str) -> Option<&'a str> {
    disposition.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case(wanted).then(|| value.trim().trim_matches('"'))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{Part, parts};

    const FORM: &str = "--B\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nlab-echo\r\n--B\r\n\
        content-disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav\r\n\r\n\r\nRIFF\r\n\r\n--B--\r\n";

    #[test]
    fn parts_keep_their_bytes_and_names() {
        let found = parts("multipart/form-data; boundary=\"B\"", FORM.as_bytes()).unwrap();
        assert_eq!(
            found,
            [
                Part { name: "model", file_name: None, content: b"lab-echo" },
                Part { name: "file", file_name: Some("a.wav"), content: b"\r\nRIFF\r\n" },
            ]
        );
    }

    #[test]
    fn a_form_cut_anywhere_is_refused() {
        for end in 0..FORM.len() - 4 {
            assert_eq!(
                parts("multipart/form-data; boundary=B", &FORM.as_bytes()[..end]),
                None,
                "{end} bytes"
            );
        }
    }

    #[test]
    fn another_content_type_is_refused() {
        assert_eq!(parts("application/json", FORM.as_bytes()), None);
        assert_eq!(parts("text/plain; boundary=B", FORM.as_bytes()), None);
    }
}
