//! Seeing a new snapshot: one task looks, the others wait to be told.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tidegate_snapshot::{Shared, Snapshot};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tracing::warn;

/// How often the snapshot in force is looked at: two atomic operations each time.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Spawns the task that looks; the receiver has the snapshot in force and wakes at every new one.
pub(crate) fn watch(shared: Arc<Shared>) -> watch::Receiver<Arc<Snapshot>> {
    let (sender, receiver) = watch::channel(shared.snapshot.load_full());
    tokio::spawn(look(shared, sender));
    receiver
}

async fn look(shared: Arc<Shared>, sender: watch::Sender<Arc<Snapshot>>) {
    let mut ticks = interval(LOOK_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // The one before is held until here, so that its address is not used again.
        let before = Arc::clone(&sender.borrow());
        if Arc::ptr_eq(&shared.snapshot.load(), &before) {
            continue;
        }
        let current = shared.snapshot.load_full();
        if admin_bind(&current) != admin_bind(&before) {
            warn!(
                before = ?admin_bind(&before),
                now = ?admin_bind(&current),
                "admin.bind has changed; the listener moves at the next start"
            );
        }
        sender.send_replace(current);
    }
}

fn admin_bind(snapshot: &Snapshot) -> Option<SocketAddr> {
    snapshot.config.admin.as_ref().map(|admin| admin.bind)
}
