//! What do the embedded applications of `weir demo` answer?

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Serves "Web Application \[`id`\]" until `shutdown`, then finishes what is in flight. Prints nothing.
pub async fn serve(_listener: TcpListener, _id: usize, _shutdown: CancellationToken) {
    todo!()
}
