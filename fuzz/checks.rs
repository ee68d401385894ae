//! What must hold for any bytes: run by the fuzz targets on new inputs and by `crates/wire/tests`
//! on the seeds and on random inputs. Each check returns whether the input is accepted, and panics
//! where an invariant is broken.

use tidegate_wire::client_hello::parse_client_hello;
use tidegate_wire::http1::chunked::{ChunkError, ChunkedDecoder};
use tidegate_wire::http1::head::{
    Field, HeadError, HeadLimits, Method, RequestFraming, RequestHead, ResponseFraming,
    ResponseHead, Version, is_valid_authority, parse_request, parse_response,
};
use tidegate_wire::http1::write::put_field;
use tidegate_wire::sse::{FrameScanner, SseDecoder, frames, parse_frame};

/// Request heads: bounded spans, clean fields, one way to see where the head ends, and what we
/// would write of it reads back the same.
pub(crate) fn request_head(data: &[u8]) -> bool {
    let parse = |bytes: &[u8]| {
        let mut head = RequestHead::default();
        parse_request(bytes, &HeadLimits::default(), &mut head).map(|length| (length, head))
    };
    let parsed = parse(data);
    check_prefixes(data, parsed.as_ref().map(|(length, _)| *length), |bytes| {
        parse(bytes).map(|(length, _)| length)
    });
    let Ok((Some(length), head)) = parsed else { return false };

    check_fields(&data[..length], &head.fields);
    assert!(head.method_name.end as usize <= length && head.target.end as usize <= length);
    assert!(!head.target.is_empty());
    assert!(head.target.of(data).iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#'));
    let authority = head.authority.of(data);
    assert!(
        is_valid_authority(authority) || (authority.is_empty() && head.version == Version::Http10)
    );
    let path = head.path.of(data);
    assert!(
        path.starts_with(b"/")
            || path == b"*"
            || (head.method == Method::Connect && path.is_empty())
    );
    if head.version == Version::Http10 {
        assert!(
            head.framing != RequestFraming::Chunked
                && head.upgrade.is_none()
                && !head.expect_continue
        );
    }

    let mut out = [head.method_name.of(data), b" ", head.target.of(data)].concat();
    out.extend_from_slice(version(head.version));
    rewrite(data, &head.fields, &mut out);
    let (again, reread) = parse(&out).expect("what is written is accepted");
    assert_eq!(again, Some(out.len()));
    assert_eq!(reread.framing, head.framing);
    assert_eq!(reread.keep_alive, head.keep_alive);
    assert_eq!(reread.authority.of(&out), authority);
    assert_eq!(reread.path.of(&out), path);
    assert_eq!(texts(&out, &reread.fields), texts(data, &head.fields));
    true
}

/// Response heads, read as answers to GET, HEAD and CONNECT: as [`request_head`].
pub(crate) fn response_head(data: &[u8]) -> bool {
    let parse = |bytes: &[u8], method: Method| {
        let mut head = ResponseHead::default();
        parse_response(bytes, &HeadLimits::default(), method, &mut head)
            .map(|length| (length, head))
    };
    let parsed = parse(data, Method::Get);
    check_prefixes(data, parsed.as_ref().map(|(length, _)| *length), |bytes| {
        parse(bytes, Method::Get).map(|(length, _)| length)
    });
    for method in [Method::Head, Method::Connect] {
        let other = parse(data, method);
        assert_eq!(
            other.as_ref().map(|(length, _)| length),
            parsed.as_ref().map(|(length, _)| length)
        );
        if let (Method::Head, Ok((Some(_), head))) = (method, other) {
            assert_eq!(head.framing, ResponseFraming::None);
        }
    }
    let Ok((Some(length), head)) = parsed else { return false };

    check_fields(&data[..length], &head.fields);
    assert!((100..1000).contains(&head.status));
    assert!(!(head.keep_alive && head.framing == ResponseFraming::UntilClose));

    let mut out = version(head.version)[1..9].to_vec();
    out.extend_from_slice(format!(" {} x\r\n", head.status).as_bytes());
    rewrite(data, &head.fields, &mut out);
    let (again, reread) = parse(&out, Method::Get).expect("what is written is accepted");
    assert_eq!(again, Some(out.len()));
    assert_eq!((reread.framing, reread.keep_alive), (head.framing, head.keep_alive));
    assert_eq!(texts(&out, &reread.fields), texts(data, &head.fields));
    true
}

fn version(version: Version) -> &'static [u8] {
    match version {
        Version::Http10 => b" HTTP/1.0\r\n",
        Version::Http11 => b" HTTP/1.1\r\n",
    }
}

fn rewrite(data: &[u8], fields: &[Field], out: &mut Vec<u8>) {
    for field in fields {
        put_field(out, field.name.of(data), field.value.of(data));
    }
    out.extend_from_slice(b"\r\n");
}

fn texts<'a>(buf: &'a [u8], fields: &[Field]) -> Vec<(&'a [u8], &'a [u8], bool)> {
    fields.iter().map(|field| (field.name.of(buf), field.value.of(buf), field.hop)).collect()
}

/// A complete head is incomplete at every byte before its end and unmoved by what follows; an
/// incomplete head was never refused on the way.
fn check_prefixes(
    data: &[u8],
    parsed: Result<Option<usize>, &HeadError>,
    parse: impl Fn(&[u8]) -> Result<Option<usize>, HeadError>,
) {
    let Ok(complete) = parsed else { return };
    let length = complete.unwrap_or(data.len());
    assert_eq!(parse(&data[..length]), Ok(complete));
    // All of them for a short head, a sample for a long one.
    let step = length / 64 + 1;
    for end in (0..length).step_by(step).chain(length.saturating_sub(4)..length) {
        assert_eq!(parse(&data[..end]), Ok(None), "cut at {end}");
    }
}

/// A head ends at its first empty line, has CRLF line ends alone, and its fields are tokens and
/// clean values.
fn check_fields(head: &[u8], fields: &[Field]) {
    let body_of_head = head.strip_prefix(b"\r\n").unwrap_or(head);
    let end = body_of_head.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    assert_eq!(end, Some(body_of_head.len() - 4));
    for (at, &byte) in head.iter().enumerate() {
        match byte {
            b'\n' => assert_eq!(head[at - 1], b'\r'),
            b'\r' => assert_eq!(head[at + 1], b'\n'),
            b'\t' | b' '..=b'~' | 0x80.. => {}
            _ => panic!("control byte {byte} was accepted"),
        }
    }
    assert!(fields.len() <= HeadLimits::default().fields);
    for field in fields {
        let (name, value) = (field.name.of(head), field.value.of(head));
        assert!(
            !name.is_empty() && name.iter().all(|byte| byte.is_ascii_graphic() && *byte != b':')
        );
        assert!(!value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
        assert!(!matches!(value.first(), Some(b' ' | b'\t')));
        assert!(!matches!(value.last(), Some(b' ' | b'\t')));
        assert!(field.hop || !field.id.is_hop());
    }
}

/// Chunked bodies: the same payload and the same verdict in any pieces; what is decoded can be
/// encoded again.
pub(crate) fn chunked(data: &[u8]) -> bool {
    let whole = decode(data, data.len());
    for piece in [1, 2, 3, 7] {
        assert_eq!(decode(data, piece), whole, "in pieces of {piece}");
    }
    let Ok((payload, Some(consumed))) = whole else { return false };
    assert!(payload.len() < consumed && consumed <= data.len());
    assert!(data[..consumed].ends_with(b"\r\n"));
    true
}

/// The payload and, if the body ended, how many bytes it took.
fn decode(data: &[u8], piece: usize) -> Result<(Vec<u8>, Option<usize>), ChunkError> {
    let mut decoder = ChunkedDecoder::default();
    let (mut payload, mut consumed) = (Vec::new(), 0);
    let mut scratch = data.to_vec();
    for buf in scratch.chunks_mut(piece.max(1)) {
        let decoded = decoder.decode(buf)?;
        assert!(decoded.data.end <= decoded.consumed && decoded.consumed <= buf.len());
        payload.extend_from_slice(&buf[decoded.data]);
        consumed += decoded.consumed;
        if decoded.done {
            return Ok((payload, Some(consumed)));
        }
        assert_eq!(decoded.consumed, buf.len());
    }
    Ok((payload, None))
}

/// Event streams: the same boundaries and the same events in any pieces. Accepted means: the stream
/// ends at a boundary.
pub(crate) fn sse(data: &[u8]) -> bool {
    let complete: usize = frames(data).map(<[u8]>::len).sum();
    let events: Vec<_> = frames(data).map(parse_frame).filter(|event| event.has_data).collect();
    for piece in [data.len(), 1, 2, 3, 7] {
        let mut scanner = FrameScanner::default();
        let mut decoder = SseDecoder::new(data.len());
        let (mut seen, mut boundary) = (0, 0);
        let mut expected = events.iter();
        for bytes in data.chunks(piece.max(1)) {
            let here = scanner.complete(bytes);
            if here > 0 {
                boundary = seen + here;
            }
            seen += bytes.len();
            assert_eq!(scanner.at_boundary(), boundary == seen);
            for event in decoder.push(bytes).expect("no frame is longer than the stream") {
                assert_eq!(Some(&event), expected.next());
            }
        }
        assert_eq!(boundary, complete, "in pieces of {piece}");
        assert_eq!(expected.next(), None);
    }
    complete == data.len()
}

/// PROXY protocol headers: one way to see where a header ends, however it is cut, within its bound,
/// and what we would write of it says the same.
pub(crate) fn proxy_protocol(data: &[u8]) -> bool {
    use tidegate_wire::proxy_protocol::{BYTES_MAX, Parsed, Told, parse, write_v1, write_v2};
    let Ok(Parsed::Whole(told, length)) = parse(data) else {
        if parse(data) == Ok(Parsed::Incomplete) {
            assert!(data.len() < BYTES_MAX, "a header of more bytes than there may be goes on");
        }
        return false;
    };
    assert!(length <= data.len() && length <= BYTES_MAX);
    for cut in 0..length {
        assert_eq!(parse(&data[..cut]), Ok(Parsed::Incomplete), "cut at {cut}");
    }
    assert_eq!(parse(&data[..length]), Ok(Parsed::Whole(told, length)));
    if let Told::Proxied { source, destination } = told {
        for write in [write_v1, write_v2] {
            let mut bytes = Vec::new();
            write(&mut bytes, source, destination);
            let Ok(Parsed::Whole(Told::Proxied { source: again, .. }, _)) = parse(&bytes) else {
                panic!("what we wrote does not read back");
            };
            assert_eq!(again.ip().to_canonical(), source.ip().to_canonical());
        }
    }
    true
}

/// ClientHellos: the same answer in any pieces. Accepted means: it is whole.
pub(crate) fn client_hello(data: &[u8]) -> bool {
    let whole = parse_client_hello(data);
    // Every beginning would cost the square of a long input.
    for end in (0..data.len()).filter(|end| *end < 600 || end % 97 == 0) {
        match parse_client_hello(&data[..end]) {
            Ok(None) => {}
            early => assert_eq!(early, whole, "after {end} bytes"),
        }
    }
    matches!(whole, Ok(Some(_)))
}
