//! Compressed replies: which ones, and the bytes.

use std::io::{self, Write as _};
use std::rc::Rc;

use brotli::CompressorWriter;
use brotli::enc::BrotliEncoderParams;
use flate2::Compression;
use flate2::write::GzEncoder;
use memchr::memmem;
use tidegate_policy::compress::{Coding, LENGTH_MIN, choose, is_text};
use tidegate_wire::http1::head::{FieldId, Method, ResponseFraming, ResponseHead, Version};

use super::Parties;
use crate::shard::Shard;

/// Replies of one shard that are compressed at once; those beyond go as they are. Each holds up to
/// half a MiB, whatever its length.
const ENCODERS_MAX: u32 = 256;

/// zlib's levels are 1 to 9: fast, and most of the gain.
const GZIP_LEVEL: u32 = 4;

/// Brotli's are 0 to 11.
const BROTLI_LEVEL: i32 = 4;

/// Logarithm of the bytes that Brotli and Zstandard look back.
const WINDOW_LOG: u32 = 16;

/// Zstandard's are 1 to 22.
const ZSTD_LEVEL: i32 = 3;

/// Bytes that Brotli puts out at once.
const BROTLI_BUFFER: usize = 4096;

/// A piece of a reply of unknown length that is shorter than this was all that there was: it is not
/// held back for those that follow.
const SHORT_PIECE: usize = 8 * 1024;

/// What becomes of a reply.
#[derive(Default)]
pub(crate) struct Choice {
    /// Other callers may get it otherwise: caches have to know.
    pub(crate) varies: bool,
    /// How it is compressed.
    pub(super) encoder: Option<Box<Encoder>>,
}

impl Choice {
    /// The coding that it gets.
    pub(crate) fn coding(&self) -> Option<Coding> {
        self.encoder.as_ref().map(|encoder| encoder.coding)
    }
}

/// Decides about a reply by its head. `events`: it is an event stream.
pub(super) fn of_reply(
    parties: &Parties<'_, '_>,
    head: &ResponseHead,
    bytes: &[u8],
    events: bool,
) -> Choice {
    let Some(edge) = parties.routed.route.edge.as_deref().filter(|edge| !edge.codings.is_empty())
    else {
        return Choice::default();
    };
    // The stream of an LLM is looked at, and may be told of errors, in the clear.
    let watched = events && parties.call.llm.is_some();
    if watched || !may_be_encoded(head, bytes) {
        return Choice::default();
    }
    let edits = parties.routed.reply_edits();
    if edits.is_some_and(|edits| edits.drops(b"content-encoding")) {
        return Choice::default();
    }
    let request = &*parties.request;
    let length = match head.framing {
        ResponseFraming::None => Some(0),
        ResponseFraming::Length(length) => Some(length),
        ResponseFraming::Chunked | ResponseFraming::UntilClose => None,
    };
    let fits = length.is_none_or(|length| length >= LENGTH_MIN)
        && request.method != Method::Head
        && (request.is_framed() || request.version == Version::Http11);
    let accept = request.fields().filter(|(.., field)| field.id == FieldId::AcceptEncoding);
    let coding = choose(&edge.codings, accept.map(|(_, value, _)| value)).filter(|_| fits);
    let flush_below = match (events, length) {
        (true, _) => usize::MAX,
        (false, None) => SHORT_PIECE,
        (false, Some(_)) => 0,
    };
    let encoder = coding.and_then(|coding| Encoder::new(coding, flush_below, parties.shard));
    Choice { varies: true, encoder: encoder.map(Box::new) }
}

/// Is this a whole reply of a kind that becomes smaller, and may it be changed
/// (RFC 9110 section 7.7)?
fn may_be_encoded(head: &ResponseHead, bytes: &[u8]) -> bool {
    let typed = head.field(FieldId::ContentType).map(|field| field.value.of(bytes));
    if !typed.is_some_and(is_text) || matches!(head.status, 204 | 206 | 304) {
        return false;
    }
    head.fields.iter().all(|field| match field.id {
        FieldId::ContentEncoding | FieldId::ContentRange => false,
        FieldId::CacheControl => {
            let value = field.value.of(bytes).to_ascii_lowercase();
            memmem::find(&value, b"no-transform").is_none()
        }
        // Checksums of what would no longer be sent.
        FieldId::Other => {
            let name = field.name.of(bytes);
            let sums: [&[u8]; 4] = [b"digest", b"content-digest", b"repr-digest", b"content-md5"];
            !sums.iter().any(|sum| name.eq_ignore_ascii_case(sum))
        }
        _ => true,
    })
}

/// Compresses one reply.
pub(super) struct Encoder {
    coding: Coding,
    stream: Stream,
    /// Pieces shorter than this are put out at once.
    flush_below: usize,
    _place: Place,
}

enum Stream {
    Gzip(GzEncoder<Vec<u8>>),
    Brotli(Box<CompressorWriter<Vec<u8>>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
    /// It has ended.
    Done,
}

impl Encoder {
    /// None: there is no place for another one.
    fn new(coding: Coding, flush_below: usize, shard: &Rc<Shard>) -> Option<Self> {
        let place = Place::take(shard)?;
        Some(Self { coding, stream: Stream::new(coding)?, flush_below, _place: place })
    }

    /// What is to be sent now, of these pieces and those before. `ended`: they were the last.
    pub(super) fn encode(&mut self, pieces: [&[u8]; 3], ended: bool) -> io::Result<Vec<u8>> {
        let size: usize = pieces.iter().map(|piece| piece.len()).sum();
        if ended {
            for piece in pieces {
                self.stream.write(piece)?;
            }
            return std::mem::replace(&mut self.stream, Stream::Done).end();
        }
        if size == 0 {
            return Ok(Vec::new());
        }
        for piece in pieces {
            self.stream.write(piece)?;
        }
        self.stream.take(size < self.flush_below)
    }
}

impl Stream {
    fn new(coding: Coding) -> Option<Self> {
        Some(match coding {
            Coding::Gzip => Self::Gzip(GzEncoder::new(Vec::new(), Compression::new(GZIP_LEVEL))),
            Coding::Brotli => {
                let params = BrotliEncoderParams {
                    quality: BROTLI_LEVEL,
                    lgwin: WINDOW_LOG.cast_signed(),
                    ..BrotliEncoderParams::default()
                };
                let writer = CompressorWriter::with_params(Vec::new(), BROTLI_BUFFER, &params);
                Self::Brotli(Box::new(writer))
            }
            Coding::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL).ok()?;
                encoder.window_log(WINDOW_LOG).ok()?;
                Self::Zstd(encoder)
            }
        })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Gzip(stream) => stream.write_all(bytes),
            Self::Brotli(stream) => stream.write_all(bytes),
            Self::Zstd(stream) => stream.write_all(bytes),
            Self::Done => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// What has been put out; with `flush` all that was written.
    fn take(&mut self, flush: bool) -> io::Result<Vec<u8>> {
        if flush {
            match self {
                Self::Gzip(stream) => stream.flush()?,
                Self::Brotli(stream) => stream.flush()?,
                Self::Zstd(stream) => stream.flush()?,
                Self::Done => {}
            }
        }
        Ok(match self {
            Self::Gzip(stream) => std::mem::take(stream.get_mut()),
            Self::Brotli(stream) => std::mem::take(stream.get_mut()),
            Self::Zstd(stream) => std::mem::take(stream.get_mut()),
            Self::Done => Vec::new(),
        })
    }

    /// The rest.
    fn end(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Gzip(stream) => stream.finish(),
            Self::Brotli(stream) => Ok(stream.into_inner()),
            Self::Zstd(stream) => stream.finish(),
            Self::Done => Ok(Vec::new()),
        }
    }
}

/// One of the places for encoders of a shard.
struct Place(Rc<Shard>);

impl Place {
    fn take(shard: &Rc<Shard>) -> Option<Self> {
        let taken = shard.encoders.get();
        (taken < ENCODERS_MAX).then(|| {
            shard.encoders.set(taken + 1);
            shard.cell().compressed.add(1);
            Self(Rc::clone(shard))
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.encoders.set(self.0.encoders.get() - 1);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::io::Read as _;

    fn decoded(coding: Coding, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        // A stream that has not ended yet ends in an error, behind all that it has put out.
        let _ = match coding {
            Coding::Gzip => flate2::read::GzDecoder::new(bytes).read_to_end(&mut out),
            Coding::Brotli => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut out),
            Coding::Zstd => zstd::stream::read::Decoder::new(bytes).unwrap().read_to_end(&mut out),
        };
        out
    }

    #[test]
    fn what_goes_in_comes_out_again() {
        let text = "All work and no play. ".repeat(5000);
        for coding in Coding::ALL {
            let mut stream = Stream::new(coding).unwrap();
            let mut out = Vec::new();
            for piece in text.as_bytes().chunks(7001) {
                stream.write(piece).unwrap();
                out.extend(stream.take(false).unwrap());
            }
            out.extend(stream.end().unwrap());
            assert_eq!(decoded(coding, &out), text.as_bytes(), "{coding:?}");
            assert!(out.len() * 10 < text.len(), "{coding:?}: {}", out.len());
        }
    }

    #[test]
    fn what_was_flushed_can_be_read_before_the_end() {
        for coding in Coding::ALL {
            let mut stream = Stream::new(coding).unwrap();
            let mut out = Vec::new();
            let mut text = Vec::new();
            for event in ["data: one\n\n", "data: two\n\n", "data: three\n\n"] {
                stream.write(event.as_bytes()).unwrap();
                out.extend(stream.take(true).unwrap());
                text.extend_from_slice(event.as_bytes());
                assert_eq!(decoded(coding, &out), text, "{coding:?}");
            }
        }
    }
}
