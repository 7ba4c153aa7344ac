//! Where is the admin listener now? Where the configuration in force has it.

use std::io;
use std::rc::Rc;

use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::{Desk, Listener, serve};
use crate::config::model::AdminListen;
use crate::net::{Held, Inherited};

/// Serves where the configuration in force says. A listener that cannot be had leaves the one there was. `first` is the one
/// of the first configuration.
pub async fn follow(
    desk: Desk,
    mut version: watch::Receiver<u64>,
    held: Rc<Held>,
    first: (Option<AdminListen>, Option<io::Result<Listener>>),
) {
    let (mut wanted, mut bound) = first;
    let mut serving = None;
    loop {
        match bound {
            Some(Ok(listener)) => {
                tracing::info!("the admin API is at {}", listener.shown());
                let task = tokio::task::spawn_local(serve(listener, desk.clone()));
                serving = Some(AbortOnDropHandle::new(task));
            }
            Some(Err(error)) => tracing::warn!("no admin listener at {wanted:?}: {error}"),
            None if wanted.is_none() => drop(serving.take()),
            None => {}
        }
        let now = desk.topology().config().admin.listen.clone();
        if wanted != now {
            bound = now.as_ref().map(|listen| Listener::bind(listen, &held, &mut Inherited::default()));
            wanted = now;
            continue;
        }
        bound = None;
        if version.changed().await.is_err() {
            // It goes with this task.
            std::future::pending::<()>().await;
        }
    }
}
