use super::{Config, Diagnostic, Env};
pub(super) fn decode(_text: &str, _env: &Env) -> (Config, Vec<Diagnostic>) {
    todo!()
}
