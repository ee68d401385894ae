//! HTTP/1.1 framing over real sockets: what is refused reaches no origin, what a hostile origin says
//! is never passed on as if it were sound.

mod replies;
mod requests;
mod unread;

use tidegate_scenario::gateway::Gateway;
use tidegate_scenario::http::Connection;
use tidegate_scenario::origin::Origin;

/// Everything to one origin.
fn before(origin: &Origin) -> Gateway {
    let address = origin.address;
    Gateway::start(&format!(
        "upstreams: {{ app: {{ endpoints: [http://{address}] }} }}\n\
         routes: [{{ path: /, upstream: app }}]\n"
    ))
}

/// What must never be taken for a request of its own.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

/// Sends `bytes` with a request hidden behind them, reads until the gateway closes, and gives all
/// that it said. It must have been one reply only.
fn all_that_comes(gateway: &Gateway, name: &str, bytes: &[u8]) -> String {
    let mut connection = Connection::open(gateway.address);
    let said = connection.send(&[bytes, SMUGGLED.as_bytes()].concat()).rest();
    let said = String::from_utf8_lossy(&said).into_owned();
    let starts = said.split("HTTP/1.1 ").skip(1);
    let replies = starts.filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit())).count();
    assert_eq!(replies, 1, "{name}: {said}");
    said
}

/// A request that must be refused: its name, its bytes, the status and the reason code.
type Refusal<'r> = (&'r str, &'r [u8], u16, &'r str);

/// Each is refused as said, the connection ends, and the origin sees nothing at all.
fn refused_unseen(table: &[Refusal]) {
    let origin = Origin::plain();
    let gateway = before(&origin);
    for (name, bytes, status, code) in table {
        let said = all_that_comes(&gateway, name, bytes);
        assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{name}: {said}");
        assert!(said.contains(&format!("\r\nX-Tidegate-Reason: {code}\r\n")), "{name}: {said}");
        assert!(said.contains("\r\nConnection: close\r\n"), "{name}: {said}");
    }
    // The origin is alive, and this is the first that it hears.
    let fine = tidegate_scenario::http::get(gateway.address, "/fine");
    assert_eq!(fine.status, 200);
    let requests = origin.requests();
    assert_eq!(requests.len(), 1, "{requests:?}");
    assert!(origin.bytes().starts_with(b"GET /fine "), "{requests:?}");
    assert_eq!(origin.connections(), 1);
}
