//! Which path is meant, and what is sent when its prefix is replaced?
//!
//! For routing only: the target itself is forwarded byte for byte.

use std::borrow::Cow;
use std::fmt;

/// A path that cannot be routed: 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathError {
    /// A `%` without two hexadecimal digits behind it.
    Escape,
    /// `%00`.
    Nul,
    /// `..` above the root.
    AboveRoot,
    /// The path and its normal form disagree about the prefix that is to be replaced.
    Ambiguous,
}

/// The path as nginx compares it with locations (`ngx_http_parse_complex_uri`, `merge_slashes on`): escapes decoded
/// once, an escaped slash or dot counting as a plain one; then dot segments removed and slashes merged. `path` has no
/// query. Borrowed if it is in normal form already; a path that does not begin with `/` (`*`) is left alone.
pub fn normalize(path: &[u8]) -> Result<Cow<'_, [u8]>, PathError> {
    todo!("{path:?}")
}

/// [`normalize`] into a buffer that is used again; what was in `out` is lost.
pub fn normalize_into(path: &[u8], out: &mut Vec<u8>) -> Result<(), PathError> {
    todo!("{path:?} {out:?}")
}

/// Appends to `out` the `path` as it was written, with `replacement` instead of the location's `prefix`.
///
/// Only where the path and its normal form agree: the path must itself begin with the prefix (escapes of ordinary
/// characters in it are fine, of slashes and dots not), and the result, normalised, must be the replacement followed by
/// what follows the prefix in the normal form of `path`. So `/loc/../x` and `/loc%2F..%2Fx` never leave the
/// replacement, nor does `/loc../x` where `/loc` became `/new/`. Otherwise [`PathError::Ambiguous`], and `out` is as it
/// was. `prefix` and `replacement` are in normal form.
pub fn replace_prefix(path: &[u8], prefix: &[u8], replacement: &[u8], out: &mut Vec<u8>) -> Result<(), PathError> {
    todo!("{path:?} {prefix:?} {replacement:?} {out:?}")
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PathError::Escape => "malformed percent escape in the path",
            PathError::Nul => "NUL in the path",
            PathError::AboveRoot => "the path leaves the root",
            PathError::Ambiguous => "the path's prefix is ambiguous",
        })
    }
}

impl std::error::Error for PathError {}
