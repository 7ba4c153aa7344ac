//! What the parts of the topology promise together.

mod applies;
mod fixture;
mod leases;
mod offers;
mod routing;
mod waits;
