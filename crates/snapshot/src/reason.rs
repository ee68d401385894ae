//! Why an exchange ended otherwise than well: one word for the reply, the log and the metrics.

use tidegate_dialect::error::ErrorKind;

/// Who caused an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The caller: its request, its key, its connection.
    Downstream,
    /// The endpoint that we called.
    Upstream,
    /// Tidegate itself: a limit, a drain, a fault.
    Internal,
}

/// The reason code of a refusal or failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Reason {
    /// The request breaks HTTP/1.1 framing or syntax.
    BadRequest,
    /// The request head is larger than the limit.
    HeadTooLarge,
    /// The request body is larger than the limit.
    BodyTooLarge,
    /// The JSON or form body of an LLM request cannot be read.
    BadBody,
    /// No credential, or one that we do not know.
    Unauthenticated,
    /// The route is not for callers from this address.
    AccessDenied,
    /// The caller has used up what its rate limit allows.
    RateLimited,
    /// No route matches.
    NoRoute,
    /// Routes match, but for other methods.
    MethodNotAllowed,
    /// A protocol over HTTP/2 other than WebSocket (RFC 8441).
    UnknownProtocol,
    /// No provider serves the model.
    UnknownModel,
    /// The request head did not arrive in time.
    HeadTimeout,
    /// The request body did not arrive in time.
    BodyTimeout,
    /// The caller went before the exchange ended.
    ClientGone,
    /// The caller does not read its reply.
    WriteStall,
    /// More connections than the limit.
    ConnectionsFull,
    /// In flight and queue are both full.
    Busy,
    /// Waited in the queue for longer than it may take.
    QueueTimeout,
    /// The process is at its memory limit.
    Memory,
    /// The process is shutting down.
    Draining,
    /// No endpoint is usable.
    NoEndpoint,
    /// Every usable endpoint is at its `connections_max`, and nobody may wait, or nobody more.
    EndpointsFull,
    /// Waited for an endpoint below its `connections_max` for longer than it may take.
    EndpointQueueTimeout,
    /// The upstream's breaker is open, or it has as many requests as it may.
    BreakerOpen,
    /// This machine is out of file descriptors, or of memory for sockets: no endpoint can be
    /// connected to.
    NoSocket,
    /// This machine is out of local ports for connections to the endpoint.
    NoPort,
    /// The endpoint's name has no address.
    NameUnresolved,
    /// The TCP connection to the endpoint failed.
    ConnectFailed,
    /// The TCP connection to the endpoint took too long.
    ConnectTimeout,
    /// The TLS handshake with the endpoint failed.
    TlsFailed,
    /// The egress proxy refused or failed.
    EgressFailed,
    /// The endpoint closed or reset before a reply.
    UpstreamClosed,
    /// The endpoint's reply is not valid HTTP.
    BadReply,
    /// The endpoint answered with an error status.
    UpstreamStatus,
    /// The endpoint speaks HTTP/2 and takes no WebSocket over it.
    NoWebSocket,
    /// No first byte of the reply in time.
    FirstTokenTimeout,
    /// Silence in the middle of the reply.
    BetweenTokensTimeout,
    /// The whole exchange took too long.
    RequestTimeout,
    /// The whole stream took too long.
    StreamTimeout,
    /// The endpoint broke off in the middle of the reply.
    UpstreamCut,
    /// An operator has drained the endpoint and its grace is over.
    EndpointDrained,
    /// A WebSocket or TCP connection was silent for too long.
    TunnelTimeout,
    /// No upstream has the server name of a TLS connection that is passed on.
    UnknownServerName,
    /// A fault of our own.
    Internal,
}

impl Reason {
    /// How many there are: the length of an array indexed by `reason as usize`.
    pub const COUNT: usize = Self::Internal as usize + 1;

    /// Every reason, in order.
    pub const ALL: [Self; Self::COUNT] = [
        Self::BadRequest,
        Self::HeadTooLarge,
        Self::BodyTooLarge,
        Self::BadBody,
        Self::Unauthenticated,
        Self::AccessDenied,
        Self::RateLimited,
        Self::NoRoute,
        Self::MethodNotAllowed,
        Self::UnknownProtocol,
        Self::UnknownModel,
        Self::HeadTimeout,
        Self::BodyTimeout,
        Self::ClientGone,
        Self::WriteStall,
        Self::ConnectionsFull,
        Self::Busy,
        Self::QueueTimeout,
        Self::Memory,
        Self::Draining,
        Self::NoEndpoint,
        Self::EndpointsFull,
        Self::EndpointQueueTimeout,
        Self::BreakerOpen,
        Self::NoSocket,
        Self::NoPort,
        Self::NameUnresolved,
        Self::ConnectFailed,
        Self::ConnectTimeout,
        Self::TlsFailed,
        Self::EgressFailed,
        Self::UpstreamClosed,
        Self::BadReply,
        Self::UpstreamStatus,
        Self::NoWebSocket,
        Self::FirstTokenTimeout,
        Self::BetweenTokensTimeout,
        Self::RequestTimeout,
        Self::StreamTimeout,
        Self::UpstreamCut,
        Self::EndpointDrained,
        Self::TunnelTimeout,
        Self::UnknownServerName,
        Self::Internal,
    ];

    /// The code in replies, logs and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::HeadTooLarge => "head_too_large",
            Self::BodyTooLarge => "body_too_large",
            Self::BadBody => "bad_body",
            Self::Unauthenticated => "unauthenticated",
            Self::AccessDenied => "access_denied",
            Self::RateLimited => "rate_limited",
            Self::NoRoute => "no_route",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::UnknownProtocol => "unknown_protocol",
            Self::UnknownModel => "model_not_found",
            Self::HeadTimeout => "head_timeout",
            Self::BodyTimeout => "body_timeout",
            Self::ClientGone => "client_gone",
            Self::WriteStall => "write_stall",
            Self::ConnectionsFull => "connections_full",
            Self::Busy => "busy",
            Self::QueueTimeout => "queue_timeout",
            Self::Memory => "memory",
            Self::Draining => "draining",
            Self::NoEndpoint => "no_endpoint",
            Self::EndpointsFull => "endpoints_full",
            Self::EndpointQueueTimeout => "endpoint_queue_timeout",
            Self::BreakerOpen => "breaker_open",
            Self::NoSocket => "no_socket",
            Self::NoPort => "no_port",
            Self::NameUnresolved => "name_unresolved",
            Self::ConnectFailed => "connect_failed",
            Self::ConnectTimeout => "connect_timeout",
            Self::TlsFailed => "tls_failed",
            Self::EgressFailed => "egress_failed",
            Self::UpstreamClosed => "upstream_closed",
            Self::BadReply => "bad_reply",
            Self::UpstreamStatus => "upstream_status",
            Self::NoWebSocket => "no_websocket",
            Self::FirstTokenTimeout => "first_token_timeout",
            Self::BetweenTokensTimeout => "between_tokens_timeout",
            Self::RequestTimeout => "request_timeout",
            Self::StreamTimeout => "stream_timeout",
            Self::UpstreamCut => "upstream_cut",
            Self::EndpointDrained => "endpoint_drained",
            Self::TunnelTimeout => "tunnel_timeout",
            Self::UnknownServerName => "unknown_server_name",
            Self::Internal => "internal",
        }
    }

    /// Who caused it.
    pub fn side(self) -> Side {
        match self {
            Self::BadRequest
            | Self::HeadTooLarge
            | Self::BodyTooLarge
            | Self::BadBody
            | Self::Unauthenticated
            | Self::AccessDenied
            | Self::RateLimited
            | Self::NoRoute
            | Self::MethodNotAllowed
            | Self::UnknownProtocol
            | Self::UnknownModel
            | Self::HeadTimeout
            | Self::BodyTimeout
            | Self::ClientGone
            | Self::WriteStall
            | Self::UnknownServerName => Side::Downstream,
            Self::ConnectionsFull
            | Self::Busy
            | Self::QueueTimeout
            | Self::Memory
            | Self::Draining
            | Self::EndpointsFull
            | Self::EndpointQueueTimeout
            | Self::NoSocket
            | Self::NoPort
            | Self::EndpointDrained
            | Self::TunnelTimeout
            | Self::Internal => Side::Internal,
            _ => Side::Upstream,
        }
    }

    /// The status of the reply, where one can still be given.
    pub fn status(self) -> u16 {
        match self {
            Self::BadRequest | Self::BadBody => 400,
            Self::HeadTooLarge => 431,
            Self::BodyTooLarge => 413,
            Self::Unauthenticated => 401,
            Self::AccessDenied => 403,
            Self::RateLimited => 429,
            Self::NoRoute | Self::UnknownModel => 404,
            Self::MethodNotAllowed => 405,
            Self::HeadTimeout | Self::BodyTimeout => 408,
            Self::ClientGone | Self::WriteStall => 499,
            Self::UnknownServerName => 421,
            Self::UnknownProtocol => 501,
            Self::ConnectionsFull
            | Self::Busy
            | Self::QueueTimeout
            | Self::Memory
            | Self::Draining
            | Self::EndpointsFull
            | Self::EndpointQueueTimeout
            | Self::EndpointDrained
            | Self::NoEndpoint
            | Self::NoSocket
            | Self::NoPort
            | Self::BreakerOpen => 503,
            Self::ConnectTimeout
            | Self::FirstTokenTimeout
            | Self::BetweenTokensTimeout
            | Self::RequestTimeout
            | Self::StreamTimeout
            | Self::TunnelTimeout => 504,
            Self::Internal => 500,
            _ => 502,
        }
    }

    /// How the LLM dialects name it.
    pub fn error_kind(self) -> ErrorKind {
        match self {
            Self::Unauthenticated => ErrorKind::Authentication,
            Self::AccessDenied => ErrorKind::Permission,
            Self::RateLimited => ErrorKind::RateLimit,
            Self::NoRoute | Self::UnknownModel => ErrorKind::NotFound,
            Self::BodyTooLarge => ErrorKind::RequestTooLarge,
            Self::ConnectTimeout
            | Self::FirstTokenTimeout
            | Self::BetweenTokensTimeout
            | Self::RequestTimeout
            | Self::StreamTimeout
            | Self::HeadTimeout
            | Self::BodyTimeout => ErrorKind::Timeout,
            Self::ConnectionsFull
            | Self::Busy
            | Self::QueueTimeout
            | Self::Memory
            | Self::Draining
            | Self::EndpointsFull
            | Self::EndpointQueueTimeout
            | Self::EndpointDrained
            | Self::NoEndpoint
            | Self::NoSocket
            | Self::NoPort
            | Self::BreakerOpen => ErrorKind::Overloaded,
            _ if self.side() == Side::Downstream => ErrorKind::InvalidRequest,
            _ => ErrorKind::Upstream,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_stands_at_its_own_index() {
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index, "{}", reason.as_str());
        }
    }

    #[test]
    fn codes_are_unique() {
        let mut codes: Vec<_> = Reason::ALL.iter().map(|r| r.as_str()).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Reason::COUNT);
    }
}
