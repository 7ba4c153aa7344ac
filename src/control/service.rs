//! What does the service manager hear of this process? `sd_notify(3)`: nothing, unless it has said where (`NOTIFY_SOCKET`).

use sd_notify::NotifyState;

/// This process serves; `status` in words.
pub fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(&one_line(status))]);
}

/// It reads its configuration. [`ready`] follows, whatever comes of that.
pub fn reloading() {
    // The manager tells by the time which reload is meant; without one the message would fail the service.
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        notify(&[NotifyState::Reloading, now, NotifyState::Status("reading the configuration")]);
    }
}

/// It finishes what is in flight.
pub fn stopping() {
    notify(&[NotifyState::Stopping, NotifyState::Status("finishing what is in flight")]);
}

/// Another process is the service from now on.
pub fn succeeded_by(pid: u32) {
    notify(&[NotifyState::MainPid(pid)]);
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!("cannot tell the service manager: {error}");
    }
}

/// A message has a line for each statement.
fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_one_line() {
        assert_eq!(one_line("one\n  two\n\nMAINPID=1\n"), "one; two; MAINPID=1");
    }
}
