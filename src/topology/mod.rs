//! What exists now? Groups, peers and routes, as one immutable snapshot.
