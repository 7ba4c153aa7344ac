//! The `weir` binary.

use std::process::ExitCode;

// Fewer and cheaper calls than the system's allocator on a thread-per-core proxy, and the same in a static binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    weir::cli::main()
}
