//! weir: a health-aware reverse proxy and load balancer. `docs/ARCHITECTURE.md` is the map.

pub mod admin;
pub mod affinity;
pub mod app;
pub mod balancer;
pub mod cli;
pub mod clock;
pub mod compose;
pub mod config;
pub mod control;
pub mod demo;
pub mod endpoint;
pub mod health;
pub mod http1;
pub mod id;
pub mod mailbox;
pub mod net;
pub mod probe;
pub mod proxy;
pub mod proxy_protocol;
pub mod shape;
pub mod share;
pub mod shutdown;
pub mod state;
pub mod telemetry;
pub mod tls;
pub mod topology;
