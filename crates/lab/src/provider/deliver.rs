//! Sends an answer at its pace, breaks it where it should break, and settles the exchange.

use std::time::Duration;

use tidegate_wire::http1::chunked::{CHUNK_END, LAST_CHUNK, chunk_head};
use tokio::time::Instant;

use super::answer::{Answer, Body, CutBy, Ending, Pace};
use super::narration::{Narration, Step};
use super::stats::Exchange;
use crate::connection::{Connection, Gone};
use crate::reply::{Length, put_head};

/// Events that need not wait for each other leave in writes of about this many bytes.
const WRITE_BYTES: usize = 8 << 10;

/// Tokens that `lab-stall` sends before it stops.
const STALL_TOKENS: usize = 2;

/// Sends `answer`. The connection comes back when it can carry another request.
pub(super) async fn deliver(
    connection: Connection,
    answer: Answer,
    exchange: Exchange,
) -> Option<Connection> {
    // An early return drops `exchange`: the client has gone, which counts as cancelled.
    match answer.body {
        Body::Whole(ref body) => deliver_whole(connection, &answer, body, exchange).await,
        Body::Stream(narration) => {
            let mut head = Vec::with_capacity(WRITE_BYTES / 4);
            let length = connection.open_ended();
            let keep_alive = connection.keep_alive() && length == Length::Chunked;
            let fields = borrowed(&answer.fields);
            put_head(&mut head, answer.status, answer.content_type, &fields, length, keep_alive);
            let stream = Stream { connection, out: head, frames: Vec::new(), length };
            stream.tell(*narration, answer.pace, answer.ending, exchange, keep_alive).await
        }
    }
}

fn borrowed<'a>(fields: &'a [(&'static str, String)]) -> Vec<(&'static str, &'a str)> {
    fields.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

async fn deliver_whole(
    mut connection: Connection,
    answer: &Answer,
    body: &[u8],
    exchange: Exchange,
) -> Option<Connection> {
    let keep_alive = connection.keep_alive();
    if !answer.pace.first.is_zero() {
        connection.pause_until(Instant::now() + answer.pace.first).await.ok()?;
    }
    let mut out = Vec::with_capacity(512 + body.len());
    let length = Length::Exactly(body.len() as u64);
    let fields = borrowed(&answer.fields);
    put_head(&mut out, answer.status, answer.content_type, &fields, length, keep_alive);
    let half = body.get(..body.len() / 2).unwrap_or_default();
    match answer.ending {
        Ending::Whole | Ending::ErrorEvent => {
            if !connection.is_head_request() {
                out.extend_from_slice(body);
            }
            connection.send(&out).await.ok()?;
            exchange.complete();
            keep_alive.then_some(connection)
        }
        Ending::Cut(by) => {
            out.extend_from_slice(half);
            connection.send(&out).await.ok()?;
            cut(connection, by, exchange);
            None
        }
        Ending::Stall => {
            out.extend_from_slice(half);
            connection.send(&out).await.ok()?;
            connection.gone().await;
            None
        }
    }
}

fn cut(connection: Connection, by: CutBy, exchange: Exchange) {
    // Settled first: whoever sees the broken connection finds it counted.
    exchange.cut();
    if by == CutBy::Reset {
        connection.reset();
    }
}

/// A streamed reply under way.
struct Stream {
    connection: Connection,
    /// Bytes ready to be sent.
    out: Vec<u8>,
    /// Events not yet framed.
    frames: Vec<u8>,
    length: Length,
}

impl Stream {
    async fn tell(
        mut self,
        mut narration: Narration,
        pace: Pace,
        ending: Ending,
        exchange: Exchange,
        keep_alive: bool,
    ) -> Option<Connection> {
        let tokens = narration.story.completion_tokens() as usize;
        let break_at = match ending {
            Ending::Whole => usize::MAX,
            Ending::Cut(_) | Ending::ErrorEvent => tokens / 2,
            Ending::Stall => STALL_TOKENS.min(tokens),
        };
        let mut due = Instant::now() + pace.first;
        if !pace.first.is_zero() {
            self.flush().await.ok()?;
            self.connection.pause_until(due).await.ok()?;
        }
        let mut told = 0;
        while let Some(step) = narration.next {
            if matches!(step, Step::Piece(..)) {
                if told == break_at {
                    return self.break_off(narration, ending, exchange, keep_alive).await;
                }
                if told > 0 && !pace.interval.is_zero() {
                    due = self.pause(due, pace.interval).await.ok()?;
                }
                told += 1;
            }
            narration.put_next(&mut self.frames);
            if self.frames.len() >= WRITE_BYTES {
                self.flush().await.ok()?;
                self.connection.check_gone().await.ok()?;
            }
        }
        self.finish(exchange, keep_alive).await
    }

    /// Sends what there is and waits for the next token's time, counted from the last one's so that pauses do not drift.
    async fn pause(&mut self, due: Instant, interval: Duration) -> Result<Instant, Gone> {
        self.flush().await?;
        // A stream that fell behind does not catch up in a burst.
        let due = (due + interval).max(Instant::now());
        self.connection.pause_until(due).await?;
        Ok(due)
    }

    async fn break_off(
        mut self,
        mut narration: Narration,
        ending: Ending,
        exchange: Exchange,
        keep_alive: bool,
    ) -> Option<Connection> {
        match ending {
            Ending::ErrorEvent => {
                narration.put_error(&mut self.frames);
                self.finish(exchange, keep_alive).await
            }
            Ending::Cut(by) => {
                if by == CutBy::MidEvent {
                    let whole = self.frames.len();
                    narration.put_next(&mut self.frames);
                    self.frames.truncate(whole.midpoint(self.frames.len()));
                }
                self.flush().await.ok()?;
                cut(self.connection, by, exchange);
                None
            }
            Ending::Stall | Ending::Whole => {
                self.flush().await.ok()?;
                self.connection.gone().await;
                None
            }
        }
    }

    async fn finish(mut self, exchange: Exchange, keep_alive: bool) -> Option<Connection> {
        self.frame();
        if self.length == Length::Chunked {
            self.out.extend_from_slice(LAST_CHUNK);
        }
        self.connection.send(&self.out).await.ok()?;
        exchange.complete();
        keep_alive.then_some(self.connection)
    }

    async fn flush(&mut self) -> Result<(), Gone> {
        self.frame();
        self.connection.send(&self.out).await?;
        self.out.clear();
        Ok(())
    }

    /// Moves the events to what is ready to be sent, as one chunk.
    fn frame(&mut self) {
        if self.frames.is_empty() {
            return;
        }
        if self.length == Length::Chunked {
            self.out.extend_from_slice(chunk_head(self.frames.len(), &mut [0; 20]));
            self.out.append(&mut self.frames);
            self.out.extend_from_slice(CHUNK_END);
        } else {
            self.out.append(&mut self.frames);
        }
    }
}
