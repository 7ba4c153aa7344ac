//! A request, from its head to the end of its answer.
//!
//! `connection` reads heads one after the other, and is `parked` where none comes. `request` is the life of one:
//! its body is gathered (`body`); its peers
//! are chosen (`choice`) and asked (`attempt`, `join`, `upload`) one after the other (`attempts`); what one answers is
//! passed on (`deliver`, `relay`, `tunnel`), or weir answers itself (`answer`, and `fixed` where the file says so); what is
//! told in the end is its `story`. `affinity` says to whom a client is bound, and binds it. Either `side` speaks HTTP/1.1 or
//! HTTP/2 (`http2`), and `grpc` is what its calls say within that. The rest are
//! decisions without IO: what the heads become (`headers`, `forwarded`), what a template says (`variables`), what weir
//! itself answers (`reply`), whom an end blames (`outcome`), what a WebSocket is agreed by (`websocket`).

use std::pin::Pin;

mod affinity;
mod answer;
mod attempt;
mod attempts;
mod body;
mod choice;
pub mod connection;
mod deliver;
mod fixed;
mod forwarded;
mod grpc;
mod headers;
mod hedge;
pub mod http2;
mod join;
mod limits;
mod mirror;
mod outcome;
pub mod parked;
mod proxied;
mod real_ip;
mod redirect;
mod relay;
mod reply;
mod request;
mod scratch;
mod secure;
mod side;
mod story;
mod tunnel;
mod upload;
mod variables;
mod websocket;

/// A future in a box, made where it will be. `Box::pin` makes it on the stack first and copies all of it, also what is not in use
/// yet: for a future of a kilobyte a good part of what a request touches of memory.
pub fn in_place<F: Future>(make: impl FnOnce() -> F) -> Pin<Box<F>> {
    Box::into_pin(Box::write(Box::new_uninit(), make()))
}

/// A future that few need: in a box, and made and polled behind calls of its own. So it is no part of the future, the stack and the
/// code of whoever may need it.
#[cold]
#[inline(never)]
pub fn apart<'a, F: Future + 'a>(make: impl FnOnce() -> F) -> Pin<Box<dyn Future<Output = F::Output> + 'a>> {
    in_place(make)
}

pub use attempt::PeerConn;
pub use attempts::report;
pub use outcome::Trouble;
pub use scratch::Spare;
pub use story::no_peer;
