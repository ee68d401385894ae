//! Why a head was refused: one variant per rule, with the status, the code and the words the caller
//! gets.

use thiserror::Error;

/// Why a head was refused. After any of these the connection cannot be reused: where the next
/// message begins is unknown or in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum HeadError {
    /// RFC 9112 §3: not `method SP target SP version CRLF`.
    #[error(
        "the request line is malformed: send `METHOD target HTTP/1.1` with single blanks, ended by CRLF"
    )]
    InvalidRequestLine,
    /// RFC 9112 §4: not `version SP status SP reason CRLF`.
    #[error(
        "the status line is malformed: a response begins with `HTTP/1.1`, a three-digit status and CRLF"
    )]
    InvalidStatusLine,
    /// A version other than 1.0 and 1.1.
    #[error("this protocol version is not supported: send HTTP/1.1 or HTTP/1.0")]
    UnsupportedVersion,
    /// RFC 9112 §3.2: none of the four forms of a target, or one that the method may not have.
    #[error(
        "the request target is malformed: send a path that begins with `/`, or an http(s) URL without user name, \
         in ASCII with everything else percent-encoded; `host:port` belongs to CONNECT and `*` to OPTIONS"
    )]
    InvalidTarget,
    /// RFC 9112 §3.2: a target has no fragment.
    #[error("the request target has a fragment: leave out `#` and what follows it")]
    FragmentInTarget,
    /// The request line alone exceeds the limit on a head.
    #[error("the request target is too long: shorten it, or move data into the request body")]
    TargetTooLong,
    /// The head exceeds [`HeadLimits::bytes`](super::HeadLimits::bytes).
    #[error("the head is too large: send fewer or shorter fields (cookies are the usual cause)")]
    TooLarge,
    /// The head exceeds [`HeadLimits::fields`](super::HeadLimits::fields).
    #[error("the head has too many fields: send fewer")]
    TooManyFields,
    /// A line ends with LF alone (RFC 9112 §2.2 allows to accept it; recipients that do disagree
    /// with those that do not).
    #[error("a line ends with a bare line feed: end every line with CRLF")]
    BareLineFeed,
    /// RFC 9112 §5.2: a line begins with a blank (obs-fold, or a blank before the first field).
    #[error(
        "a field is folded over several lines: send each field on one line that does not begin with a blank"
    )]
    FoldedField,
    /// RFC 9110 §5.1: the name is empty or holds more than token characters, or the line has no
    /// colon.
    #[error("a field name is malformed: send a non-empty token followed by a colon")]
    InvalidFieldName,
    /// RFC 9112 §5.1: a blank between name and colon.
    #[error("a field name is followed by a blank: put the colon right behind the name")]
    SpaceBeforeColon,
    /// RFC 9110 §5.5: a control byte such as NUL or a bare CR in a value.
    #[error("a field value holds a control character: remove NUL, CR, LF and other controls")]
    InvalidFieldValue,
    /// RFC 9112 §3.2: an HTTP/1.1 request without Host.
    #[error("the Host field is missing: send exactly one")]
    MissingHost,
    /// RFC 9112 §3.2: more than one Host.
    #[error("the Host field is repeated: send exactly one")]
    RepeatedHost,
    /// RFC 9112 §3.2: Host is not `host [":" port]`.
    #[error("the Host field is malformed: send a host name or an address, and at most a port")]
    InvalidHost,
    /// RFC 9112 §6.1: Content-Length together with Transfer-Encoding.
    #[error("Content-Length and Transfer-Encoding are both present: send only one of them")]
    ConflictingFraming,
    /// RFC 9110 §8.6: Content-Length is not a decimal number below 2^64.
    #[error("Content-Length is malformed: send decimal digits only, without sign, blank or list")]
    InvalidContentLength,
    /// More than one Content-Length, even with equal values.
    #[error("Content-Length is repeated: send exactly one")]
    RepeatedContentLength,
    /// RFC 9112 §6.1: HTTP/1.0 knows no transfer codings.
    #[error("Transfer-Encoding is not part of HTTP/1.0: send Content-Length, or use HTTP/1.1")]
    TransferEncodingInHttp10,
    /// A transfer coding other than `chunked`.
    #[error(
        "the transfer coding is not supported: send `Transfer-Encoding: chunked` and nothing else in it"
    )]
    UnknownTransferEncoding,
    /// RFC 9112 §6.1: `chunked` is followed by another coding.
    #[error(
        "chunked is not the last transfer coding: send `Transfer-Encoding: chunked` and nothing else in it"
    )]
    ChunkedNotLast,
    /// Transfer-Encoding twice, `chunked` twice, or an empty element in the list.
    #[error(
        "Transfer-Encoding is repeated or has an empty element: send `Transfer-Encoding: chunked` once"
    )]
    RepeatedTransferEncoding,
    /// A body is announced where none can be: CONNECT, or an interim (1xx) response.
    #[error(
        "a body is announced where there can be none: leave out Content-Length and Transfer-Encoding"
    )]
    BodyNotAllowed,
    /// More connection options than any honest peer has.
    #[error("Connection names too many options: send fewer")]
    TooManyConnectionOptions,
    /// RFC 9110 §10.1.1: an expectation other than `100-continue`.
    #[error("the expectation is not supported: send `Expect: 100-continue` or leave the field out")]
    UnknownExpectation,
}

impl HeadError {
    /// The status to answer a *request* with. For a response of an upstream the status is the
    /// gateway's choice (502).
    pub const fn status(self) -> u16 {
        match self {
            Self::TargetTooLong => 414,
            Self::UnknownExpectation => 417,
            Self::TooLarge | Self::TooManyFields => 431,
            Self::InvalidStatusLine => 502,
            Self::UnsupportedVersion => 505,
            _ => 400,
        }
    }

    /// A stable name for replies, logs and metrics.
    pub const fn code(self) -> &'static str {
        match self {
            Self::InvalidRequestLine => "invalid_request_line",
            Self::InvalidStatusLine => "invalid_status_line",
            Self::UnsupportedVersion => "unsupported_version",
            Self::InvalidTarget => "invalid_target",
            Self::FragmentInTarget => "fragment_in_target",
            Self::TargetTooLong => "target_too_long",
            Self::TooLarge => "head_too_large",
            Self::TooManyFields => "too_many_fields",
            Self::BareLineFeed => "bare_line_feed",
            Self::FoldedField => "folded_field",
            Self::InvalidFieldName => "invalid_field_name",
            Self::SpaceBeforeColon => "space_before_colon",
            Self::InvalidFieldValue => "invalid_field_value",
            Self::MissingHost => "missing_host",
            Self::RepeatedHost => "repeated_host",
            Self::InvalidHost => "invalid_host",
            Self::ConflictingFraming => "conflicting_framing",
            Self::InvalidContentLength => "invalid_content_length",
            Self::RepeatedContentLength => "repeated_content_length",
            Self::TransferEncodingInHttp10 => "transfer_encoding_in_http10",
            Self::UnknownTransferEncoding => "unknown_transfer_encoding",
            Self::ChunkedNotLast => "chunked_not_last",
            Self::RepeatedTransferEncoding => "repeated_transfer_encoding",
            Self::BodyNotAllowed => "body_not_allowed",
            Self::TooManyConnectionOptions => "too_many_connection_options",
            Self::UnknownExpectation => "unknown_expectation",
        }
    }
}
