//! One look at one peer. Used by the control plane and by `weir healthcheck`.
