//! HTTP/2 on either side, and gRPC.

mod clients;
mod conformance;
mod drain;
mod floods;
mod frames;
mod grpc;
mod limits;
mod peers;
pub mod rig;
mod shaping;
pub mod tls;
mod tunnels;
mod websocket;
