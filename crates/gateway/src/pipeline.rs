//! The story of a request, on one screen: every kind of traffic takes this way.

use std::rc::Rc;

use tidegate_config::Priority;
use tidegate_dialect::Shape;
use tidegate_snapshot::{Reason, Snapshot};

use crate::admission;
use crate::auth;
use crate::builtin;
use crate::client::Client;
use crate::downstream::After;
use crate::edge;
use crate::error::ProxyError;
use crate::exchange::{self, Parties, hedge, upgrade};
use crate::fixed;
use crate::mirror;
use crate::record::Record;
use crate::reply;
use crate::request::Request;
use crate::route;
use crate::shard::Shard;
use crate::upstream::{self, Attempts, Newer, Want};

/// Answers one request, whatever happens, and says what becomes of the connection.
pub(crate) async fn handle(
    shard: &Rc<Shard>,
    snapshot: &Snapshot,
    client: &mut Client,
    request: &mut Request,
    over: bool,
) -> After {
    client.reply.close = over || !request.keep_alive || shard.live().is_draining();
    let stall = snapshot.timeouts.write_stall;
    let keep = !client.reply.close && request.is_read();
    if !request.connects()
        && let Some(built_in) = builtin::answer(snapshot, shard.live(), request, keep)
    {
        reply::deliver(client, &built_in, stall).await;
        return after(client, request);
    }
    let mut record = Record::open(shard);
    let answered = if over {
        Err(ProxyError::new(Reason::ConnectionsFull))
    } else {
        answer(shard, snapshot, client, request, &mut record).await
    };
    if let Err(error) = answered {
        reply::tell(shard, snapshot, client, request, &mut record, &error).await;
    }
    record.reply_bytes = client.reply.bytes;
    after(client, request)
}

/// From the listener to the endpoints that can take it. What we answer ourselves ends here.
async fn answer<'s>(
    shard: &Rc<Shard>,
    snapshot: &'s Snapshot,
    client: &mut Client,
    request: &mut Request,
    record: &mut Record<'s>,
) -> Result<(), ProxyError> {
    let began_ms = client.now_ms();
    request.origin = edge::origin(client, request);
    if let Some(told) = edge::told_id(client, request) {
        request.id = told;
    }
    let routed = route::find(snapshot, request, record)?;
    edge::enter(routed.route, client, request)?;
    let caller = auth::identify(snapshot, routed.route, request)?;
    let keep = !client.reply.close && request.is_read();
    let secure = edge::is_secure(client, request);
    if let Some((status, message)) = fixed::answer(&routed, request, secure, keep)? {
        record.status = status;
        reply::deliver(client, &message, snapshot.timeouts.write_stall).await;
        return Ok(());
    }
    request.bound_body(routed.route.body_max.unwrap_or(snapshot.limits.body))?;
    let priority = caller.map_or(Priority::Normal, |caller| caller.priority);
    let _admitted = admission::admit(shard, snapshot, client, priority).await?;
    if let Some(llm) = routed.llm {
        let keep = !client.reply.close && request.is_read();
        if let Some(list) = builtin::models(snapshot, llm, routed.path(request), request, keep) {
            record.status = 200;
            reply::deliver(client, &list, snapshot.timeouts.write_stall).await;
            return Ok(());
        }
        if matches!(llm.shape, Shape::Json | Shape::Multipart) {
            request.buffer_body(shard, snapshot, client, began_ms).await?;
        }
    }
    let call = route::call(shard, snapshot, &routed, request)?;
    record.model = call.model.map(|model| &*model.series);
    let (routed, call) = (&routed, &call);
    let mut switched = None;
    let mut parties = Parties {
        shard,
        snapshot,
        client,
        request,
        routed,
        call,
        record,
        began_ms,
        last: false,
        switched: &mut switched,
    };
    forward(&mut parties, priority).await
}

/// To one endpoint after the other, until one has answered.
async fn forward(parties: &mut Parties<'_, '_>, priority: Priority) -> Result<(), ProxyError> {
    let Parties { shard, snapshot, routed, call, .. } = *parties;
    let group = call.group;
    let budget = &snapshot.retry_budget;
    let now_ms = parties.client.now_ms();
    group.live.budget(shard.index, budget, now_ms, |left| left.deposit(budget));
    let mut passed = upstream::pass(shard, group)?;
    if let Some(mirror) = routed.route.mirror.as_ref().filter(|_| !call.tunnels) {
        mirror::begin(shard, snapshot, parties.client, parties.request, routed, mirror);
    }
    let hedge_ms = routed.route.hedge_ms.filter(|_| hedge::is_possible(parties.request, call));
    let address = edge::address(parties.client, parties.request);
    let path = routed.path(parties.request);
    let key = upstream::key(group, call.traffic(), parties.request, path, address);
    let mut attempts = Attempts::new(Want::new(call.traffic(), key, priority));
    let newer = Newer::new();
    loop {
        let client = &mut *parties.client;
        let mut picked =
            upstream::pick(shard, snapshot, client, call, &mut attempts, &newer).await?;
        attempts.pause(shard, snapshot, client, &picked).await?;
        parties.last = attempts.is_last(snapshot);
        let outcome = match hedge_ms {
            Some(after) if attempts.is_first() => {
                let (passed, attempts) = (&mut passed, &mut attempts);
                let pair = hedge::run(parties, picked, passed, attempts, (group, &newer), after);
                // Boxed: two attempts are large, and most exchanges have one.
                let (answered, outcome) = Box::pin(pair).await;
                picked = answered;
                outcome
            }
            _ => exchange::run(parties, &picked).await,
        };
        picked.note(shard, &mut passed, outcome.as_ref().err(), parties.record.status);
        let Err(error) = outcome else {
            if let Some(leg) = parties.switched.take() {
                // Boxed: few exchanges become tunnels, and all would pay for it.
                Box::pin(upgrade::pass(parties, picked.endpoint, *leg)).await;
            }
            return Ok(());
        };
        let committed = parties.client.reply.is_committed() || !parties.request.is_replayable();
        attempts.may_repeat(shard, snapshot, group, picked.index(), committed, error)?;
    }
}

/// What becomes of the connection.
fn after(client: &Client, request: &Request) -> After {
    match (client.reply.close, request.is_read()) {
        (false, true) => After::KeepAlive,
        // What the caller still sends is read for a moment, so that it sees the reply.
        _ if client.reply.broken => After::Close,
        _ => After::Linger,
    }
}
