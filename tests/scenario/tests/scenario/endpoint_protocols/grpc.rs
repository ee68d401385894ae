//! gRPC as it is on the wire: HTTP/2 on both sides, messages both ways, the status in trailers.

use bytes::Bytes;
use h2::client::{SendRequest, handshake};
use http::{HeaderMap, Request, Response};
use tidegate_scenario::PATIENCE;
use tidegate_scenario::gateway::Gateway;
use tidegate_scenario::http2_origin::{Http2Origin, Options};
use tidegate_scenario::until;

/// Runs a client of HTTP/2 against the gateway, within the test's patience.
pub(super) fn call<T>(gateway: &Gateway, steps: impl AsyncFnOnce(SendRequest<Bytes>) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let tcp = tokio::net::TcpStream::connect(gateway.address).await.unwrap();
        let (sender, connection) = handshake(tcp).await.unwrap();
        let driver = tokio::spawn(connection);
        let done = tokio::time::timeout(PATIENCE, steps(sender)).await.expect("within patience");
        driver.abort();
        done
    })
}

fn to(origin: &Http2Origin) -> Gateway {
    super::before(&format!("endpoints: [\"http://{}\"], protocol: http2", origin.address))
}

pub(super) fn request(path: &str) -> Request<()> {
    Request::post(format!("http://app.example{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap()
}

/// A message with its prefix: not compressed, length.
pub(super) fn message(text: &str) -> Bytes {
    let mut bytes = vec![0];
    bytes.extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(text.as_bytes());
    bytes.into()
}

pub(super) async fn rest(reply: Response<h2::RecvStream>) -> (Vec<u8>, Option<HeaderMap>) {
    let mut body = reply.into_body();
    let mut bytes = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece.unwrap();
        body.flow_control().release_capacity(piece.len()).unwrap();
        bytes.extend_from_slice(&piece);
    }
    (bytes, body.trailers().await.unwrap())
}

#[test]
fn a_unary_call_ends_with_its_status_and_no_trusted_name_behind_it() {
    let origin = Http2Origin::start(Options::default());
    let gateway = to(&origin);
    call(&gateway, async |mut sender| {
        let (reply, mut send) = sender.send_request(request("/grpc"), false).unwrap();
        send.send_data(message("hello"), true).unwrap();
        let reply = reply.await.unwrap();
        assert_eq!(reply.headers()["content-type"], "application/grpc");
        let (body, trailers) = rest(reply).await;
        assert_eq!(body, message("hello"));
        let trailers = trailers.expect("trailers");
        assert_eq!(trailers["grpc-status"], "0");
        assert_eq!(trailers["grpc-message"], "fine");
        assert!(!trailers.contains_key("authorization"));
    });
    let seen = origin.requests();
    assert_eq!(seen[0].headers()["te"], "trailers");
    assert_eq!(seen[0].uri(), "http://app.example/grpc");
}

#[test]
fn a_call_that_fails_at_once_keeps_its_status() {
    let origin = Http2Origin::start(Options::default());
    let gateway = to(&origin);
    call(&gateway, async |mut sender| {
        let (reply, mut send) = sender.send_request(request("/grpc-error"), false).unwrap();
        send.send_data(message("hello"), true).unwrap();
        let reply = reply.await.unwrap();
        assert_eq!(reply.headers()["grpc-status"], "5");
        assert_eq!(rest(reply).await.0, b"");
    });
}

#[test]
fn messages_of_a_call_take_turns_both_ways() {
    let origin = Http2Origin::start(Options::default());
    let gateway = to(&origin);
    call(&gateway, async |mut sender| {
        let (reply, mut send) = sender.send_request(request("/grpc"), false).unwrap();
        let mut reply = reply.await.expect("the head comes before any message");
        for round in 0..10 {
            let asked = message(&format!("round {round}"));
            send.send_data(asked.clone(), false).unwrap();
            let mut answered = Vec::new();
            while answered.len() < asked.len() {
                let piece = reply.body_mut().data().await.unwrap().unwrap();
                reply.body_mut().flow_control().release_capacity(piece.len()).unwrap();
                answered.extend_from_slice(&piece);
            }
            assert_eq!(answered, asked);
        }
        send.send_data(Bytes::new(), true).unwrap();
        let (_, trailers) = rest(reply).await;
        assert_eq!(trailers.expect("trailers")["grpc-status"], "0");
    });
}

#[test]
fn a_cancelled_call_is_cancelled_at_the_endpoint() {
    let origin = Http2Origin::start(Options::default());
    let gateway = to(&origin);
    call(&gateway, async |mut sender| {
        let (reply, mut send) = sender.send_request(request("/hold"), true).unwrap();
        // Beside the runtime, which has to send the request meanwhile.
        let seen = origin.clone();
        let arrived = move || (seen.streams().0 == 1).then_some(());
        tokio::task::spawn_blocking(move || until("the call has arrived", arrived)).await.unwrap();
        send.send_reset(h2::Reason::CANCEL);
        assert!(reply.await.is_err());
        // Another call shows that both connections live.
        let (reply, _) = sender.send_request(request("/grpc-error"), true).unwrap();
        assert_eq!(reply.await.unwrap().status(), 200);
    });
    until("the endpoint has heard of it", || (origin.resets() == 1).then_some(()));
    assert_eq!(origin.connections(), 1);
}

#[test]
fn fields_behind_a_callers_body_are_passed_on_without_trusted_names() {
    let origin = Http2Origin::start(Options::default());
    let gateway = to(&origin);
    call(&gateway, async |mut sender| {
        for body in [message("hello"), Bytes::new()] {
            let (reply, mut send) = sender.send_request(request("/echo"), false).unwrap();
            send.send_data(body.clone(), false).unwrap();
            let mut trailers = HeaderMap::new();
            for name in ["x-checksum", "authorization", "x-forwarded-for", "content-length"] {
                trailers.insert(name, "1".parse().unwrap());
            }
            send.send_trailers(trailers).unwrap();
            let (answered, _) = rest(reply.await.unwrap()).await;
            assert_eq!(answered, body);
        }
    });
    let seen = origin.trailers();
    assert_eq!(seen.len(), 2);
    for trailers in seen {
        let names: Vec<_> = trailers.keys().map(http::HeaderName::as_str).collect();
        assert_eq!(names, ["x-checksum"]);
    }
}
