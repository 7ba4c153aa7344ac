//! What the parts of the topology promise together.

mod adjusts;
mod applies;
mod bindings;
mod fixture;
mod leases;
mod offers;
mod routing;
mod sources;
mod streams;
mod waits;
