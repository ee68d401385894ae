//! An origin that speaks HTTP/2 alone: scripted by paths, it notes what it saw.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// What the origin does differently from a plain one.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Its limit of concurrent streams.
    pub streams_max: Option<u32>,
    /// Its window for one stream, in bytes.
    pub window: Option<u32>,
    /// It speaks TLS.
    pub tls: Option<Arc<ServerConfig>>,
    /// It takes tunnels (RFC 8441).
    pub connect: bool,
    /// Who serves those that choose HTTP/1.1 by ALPN.
    pub http11: Option<SocketAddr>,
    /// It answers nothing at all on a new connection, not even SETTINGS.
    pub silent: bool,
}

/// What an origin has seen.
#[derive(Debug, Default)]
struct Record {
    connections: usize,
    open: usize,
    requests: Vec<Request<()>>,
    protocols: Vec<String>,
    streams: usize,
    streams_most: usize,
    bodies: Vec<Vec<u8>>,
    /// Bytes of bodies of `/late`.
    taken: usize,
    trailers: Vec<HeaderMap>,
    resets: usize,
    refuse: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Serving,
    GoingAway,
    Dead,
}

/// A running origin; it lives until the test's process ends.
#[derive(Debug, Clone)]
pub struct Http2Origin {
    /// Where it listens.
    pub address: SocketAddr,
    record: Arc<Mutex<Record>>,
    mood: watch::Sender<Mood>,
    hold: watch::Sender<bool>,
}

impl Http2Origin {
    /// Starts one.
    pub fn start(options: Options) -> Self {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        listener.set_nonblocking(true).expect("a nonblocking listener");
        let origin = Self {
            address: listener.local_addr().expect("an address"),
            record: Arc::default(),
            mood: watch::Sender::new(Mood::Serving),
            hold: watch::Sender::new(true),
        };
        let shared = origin.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                while let Ok((tcp, _)) = listener.accept().await {
                    tokio::spawn(shared.clone().connection(tcp, options.clone()));
                }
            });
        });
        origin
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.lock().connections
    }

    /// Connections open now.
    pub fn open(&self) -> usize {
        self.lock().open
    }

    /// Heads of the requests, in the order of their coming.
    pub fn requests(&self) -> Vec<Request<()>> {
        self.lock().requests.clone()
    }

    /// The `:protocol` of each extended CONNECT.
    pub fn protocols(&self) -> Vec<String> {
        self.lock().protocols.clone()
    }

    /// Bodies that were read to their end.
    pub fn bodies(&self) -> Vec<Vec<u8>> {
        self.lock().bodies.clone()
    }

    /// Bytes that have come of bodies to `/late`, whole or not.
    pub fn taken(&self) -> usize {
        self.lock().taken
    }

    /// The trailers that came behind bodies.
    pub fn trailers(&self) -> Vec<HeaderMap> {
        self.lock().trailers.clone()
    }

    /// Streams open now, and at most so far.
    pub fn streams(&self) -> (usize, usize) {
        let record = self.lock();
        (record.streams, record.streams_most)
    }

    /// Streams of `/hold` and `/ws-hold` that the gateway has reset.
    pub fn resets(&self) -> usize {
        self.lock().resets
    }

    /// Refuses the next `count` requests unseen (REFUSED_STREAM).
    pub fn refuse(&self, count: usize) {
        self.lock().refuse = count;
    }

    /// Lets `/hold` answer and `/late` read, from now on.
    pub fn release(&self) {
        self.hold.send_replace(false);
    }

    /// Sends GOAWAY on every connection that is open; new ones are served.
    pub fn go_away(&self) {
        self.mood.send_replace(Mood::GoingAway);
    }

    /// Drops every connection that is open; new ones are served.
    pub fn kill(&self) {
        self.mood.send_replace(Mood::Dead);
    }

    async fn connection(self, tcp: tokio::net::TcpStream, options: Options) {
        self.lock().connections += 1;
        self.lock().open += 1;
        match &options.tls {
            None => self.serve(tcp, &options).await,
            Some(tls) => {
                if let Ok(mut tls) = TlsAcceptor::from(Arc::clone(tls)).accept(tcp).await {
                    match options.http11 {
                        Some(there) if tls.get_ref().1.alpn_protocol() == Some(b"http/1.1") => {
                            if let Ok(mut there) = tokio::net::TcpStream::connect(there).await {
                                let _ = tokio::io::copy_bidirectional(&mut tls, &mut there).await;
                            }
                        }
                        _ => self.serve(tls, &options).await,
                    }
                }
            }
        }
        self.lock().open -= 1;
    }

    async fn serve<T: AsyncRead + AsyncWrite + Unpin>(&self, mut io: T, options: &Options) {
        if options.silent {
            while io.read(&mut [0; 1024]).await.is_ok_and(|read| read > 0) {}
            return;
        }
        let mut mood = self.mood.subscribe();
        mood.mark_unchanged();
        let mut builder = h2::server::Builder::new();
        if let Some(max) = options.streams_max {
            builder.max_concurrent_streams(max);
        }
        if let Some(window) = options.window {
            builder.initial_window_size(window);
        }
        if options.connect {
            builder.enable_connect_protocol();
        }
        let Ok(mut connection) = builder.handshake::<_, Bytes>(io).await else { return };
        loop {
            tokio::select! {
                accepted = connection.accept() => match accepted {
                    Some(Ok((request, respond))) => {
                        tokio::spawn(self.clone().stream(request, respond));
                    }
                    _ => return,
                },
                _ = mood.changed() => {
                    let now = *mood.borrow_and_update();
                    match now {
                        Mood::GoingAway => connection.graceful_shutdown(),
                        Mood::Dead => return,
                        Mood::Serving => {}
                    }
                }
            }
        }
    }

    async fn stream(self, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        {
            let mut record = self.lock();
            if record.refuse > 0 {
                record.refuse -= 1;
                respond.send_reset(Reason::REFUSED_STREAM);
                return;
            }
            record.streams += 1;
            record.streams_most = record.streams_most.max(record.streams);
        }
        let (parts, body) = request.into_parts();
        let path = parts.uri.path().to_owned();
        let mut head = Request::from_parts(parts, ());
        if let Some(protocol) = head.extensions().get::<h2::ext::Protocol>() {
            self.lock().protocols.push(protocol.as_str().to_owned());
        }
        head.extensions_mut().clear();
        self.lock().requests.push(head);
        self.answer(&path, body, &mut respond).await;
        self.lock().streams -= 1;
    }

    async fn answer(&self, path: &str, body: RecvStream, respond: &mut SendResponse<Bytes>) {
        let ok = || Response::builder().status(200).header("x-origin", "h2").body(()).unwrap();
        match path {
            "/reset" => respond.send_reset(Reason::INTERNAL_ERROR),
            "/http11" => respond.send_reset(Reason::HTTP_1_1_REQUIRED),
            "/cut" => {
                let Ok(mut send) = respond.send_response(ok(), false) else { return };
                let _ = send.send_data(Bytes::from_static(b"half"), false);
                // The half has gone out before the rest is refused.
                tokio::task::yield_now().await;
                send.send_reset(Reason::INTERNAL_ERROR);
            }
            "/hold" => {
                let mut held = self.hold.subscribe();
                tokio::select! {
                    _ = held.wait_for(|held| !*held) => {
                        let Ok(mut send) = respond.send_response(ok(), false) else { return };
                        let _ = send.send_data(Bytes::from_static(b"released"), true);
                    }
                    _ = std::future::poll_fn(|cx| respond.poll_reset(cx)) => self.lock().resets += 1,
                }
            }
            // Reads all of the body before it answers, and nothing of it before the hold ends.
            "/late" => {
                let mut held = self.hold.subscribe();
                let _ = held.wait_for(|held| !*held).await;
                let mut body = body;
                while let Some(Ok(piece)) = body.data().await {
                    self.lock().taken += piece.len();
                    let _ = body.flow_control().release_capacity(piece.len());
                }
                let _ = respond.send_response(ok(), true);
            }
            "/big" => {
                let Ok(mut send) = respond.send_response(ok(), false) else { return };
                for piece in big().chunks(64 * 1024) {
                    if !send_all(&mut send, Bytes::copy_from_slice(piece)).await {
                        self.lock().resets += 1;
                        return;
                    }
                }
                let _ = send.send_data(Bytes::new(), true);
            }
            "/nothing" => {
                let reply = Response::builder().status(204).body(()).unwrap();
                let _ = respond.send_response(reply, true);
            }
            // Tunnels, as is `/ws`.
            "/ws-first" => {
                let Ok(mut send) = respond.send_response(ok(), false) else { return };
                let _ = send.send_data(Bytes::from_static(b"that is all"), true);
                self.read_whole(body).await;
            }
            "/ws-reset" => {
                let Ok(mut send) = respond.send_response(ok(), false) else { return };
                let mut body = body;
                let _ = body.data().await;
                send.send_reset(Reason::CANCEL);
            }
            "/ws-hold" => {
                let Ok(mut send) = respond.send_response(ok(), false) else { return };
                let _ = send.send_data(Bytes::from_static(b"!"), false);
                let _ = std::future::poll_fn(|cx| send.poll_reset(cx)).await;
                self.lock().resets += 1;
            }
            "/ws-no" => {
                let reply = Response::builder().status(403).body(()).unwrap();
                let Ok(mut send) = respond.send_response(reply, false) else { return };
                let _ = send.send_data(Bytes::from_static(b"no!"), true);
            }
            // As gRPC does: the head at once, each message as it comes, the status behind them.
            "/grpc" => {
                let reply = Response::builder().header("content-type", "application/grpc");
                let Ok(mut send) = respond.send_response(reply.body(()).unwrap(), false) else {
                    return;
                };
                self.echo(body, &mut send).await;
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", "0".parse().unwrap());
                trailers.insert("grpc-message", "fine".parse().unwrap());
                trailers.insert("authorization", "never".parse().unwrap());
                let _ = send.send_trailers(trailers);
            }
            "/grpc-error" => {
                let reply = Response::builder()
                    .header("content-type", "application/grpc")
                    .header("grpc-status", "5");
                let _ = respond.send_response(reply.body(()).unwrap(), true);
            }
            "/echo" | "/ws" => {
                let Ok(mut send) = respond.send_response(ok(), false) else { return };
                self.echo(body, &mut send).await;
                let _ = send.send_data(Bytes::new(), true);
            }
            _ => {
                let Ok(mut send) = respond.send_response(ok(), false) else { return };
                let _ = send.send_data(Bytes::from_static(b"ok"), true);
            }
        }
    }

    async fn read_whole(&self, mut body: RecvStream) {
        let mut whole = Vec::new();
        while let Some(Ok(piece)) = body.data().await {
            whole.extend_from_slice(&piece);
            let _ = body.flow_control().release_capacity(piece.len());
        }
        self.lock().bodies.push(whole);
    }

    async fn echo(&self, mut body: RecvStream, send: &mut SendStream<Bytes>) {
        let mut whole = Vec::new();
        while let Some(Ok(piece)) = body.data().await {
            whole.extend_from_slice(&piece);
            let length = piece.len();
            if !send_all(send, piece).await {
                return;
            }
            let _ = body.flow_control().release_capacity(length);
        }
        if let Ok(Some(trailers)) = body.trailers().await {
            self.lock().trailers.push(trailers);
        }
        self.lock().bodies.push(whole);
    }
}

/// One MiB whose every part is different.
pub fn big() -> Vec<u8> {
    (0..1024 * 1024 / 4_u32).flat_map(u32::to_be_bytes).collect()
}

/// Sends within the window. False: the stream is gone.
async fn send_all(send: &mut SendStream<Bytes>, mut piece: Bytes) -> bool {
    while !piece.is_empty() {
        send.reserve_capacity(piece.len());
        while send.capacity() == 0 {
            let room = std::future::poll_fn(|cx| send.poll_capacity(cx)).await;
            if !matches!(room, Some(Ok(_))) {
                return false;
            }
        }
        let now = piece.split_to(send.capacity().min(piece.len()));
        if send.send_data(now, false).is_err() {
            return false;
        }
    }
    true
}
