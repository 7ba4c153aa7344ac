//! Which servers does a `servers_file` list now? It is looked at every second, and may be replaced or written over.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::Told;
use crate::balancer::Method;
use crate::config::model::Config;
use crate::config::peers;
use crate::file;
use crate::topology::{Change, Source};

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// A file is read once it has not changed for this long: somebody may write it in pieces.
const SETTLE: Duration = Duration::from_millis(100);
/// However restless it is, it is read after so many looks.
const PATIENCE: u32 = 10;
/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 16 << 20;

/// What the files of a configuration list at the start, so that there are peers before the first request. What is wrong
/// with one is told by whoever follows it.
pub fn at_start(config: &Config) -> Vec<Change> {
    let files = config.upstreams.iter().filter_map(|upstream| Some((upstream, upstream.servers_file.as_deref()?)));
    let read = files.filter_map(|(upstream, path)| {
        let peers = peers::parse(path, &file::text(path, MAX_FILE).ok()?, &upstream.method).ok()?;
        Some(Change::Discovered { group: Arc::clone(&upstream.name), source: Source::File, peers })
    });
    read.collect()
}

/// Follows one file for as long as the group has it. What cannot be used changes nothing, and is told once.
pub(super) async fn follow(group: Arc<str>, path: PathBuf, told: Told) {
    let shown = path.display().to_string();
    let (mut seen, mut text, mut complaint) = (None, None, None);
    loop {
        let mut stamp = Stamp::of(&path);
        if seen.as_ref() != Some(&stamp) {
            if seen.is_some() {
                stamp = settled(&path, stamp).await;
            }
            seen = Some(stamp);
            let said = match file::text(&path, MAX_FILE) {
                Ok(now) if text.as_ref() == Some(&now) => Ok(()),
                Ok(now) => {
                    let peers = peers::parse(&path, &now, &method(&told, &group));
                    text = Some(now);
                    peers
                        .map(|peers| told.publish(&group, Source::File, &shown, peers))
                        .map_err(|found| found.summary())
                }
                Err(error) => {
                    text = None;
                    Err(format!("{shown} cannot be read: {error}"))
                }
            };
            match said {
                Ok(()) => complaint = None,
                Err(why) if complaint.as_ref() == Some(&why) => {}
                Err(why) => {
                    tracing::warn!("{group}: {why}; the servers that were read before stay");
                    complaint = Some(why);
                }
            }
        }
        sleep(LOOK).await;
    }
}

/// The file's stamp once it stands still.
async fn settled(path: &Path, mut stamp: Stamp) -> Stamp {
    for _ in 0..PATIENCE {
        sleep(SETTLE).await;
        let later = Stamp::of(path);
        if later == stamp {
            break;
        }
        stamp = later;
    }
    stamp
}

fn method(told: &Told, group: &str) -> Method {
    told.live.load().group_named(group).map_or(Method::RoundRobin, |group| group.config.method.clone())
}

/// What tells without reading that a file may have changed. `None`: there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp(Option<[i64; 7]>);

impl Stamp {
    fn of(path: &Path) -> Stamp {
        Stamp(fs::metadata(path).ok().map(|meta| {
            let (device, node, length) = (meta.dev().cast_signed(), meta.ino().cast_signed(), meta.len().cast_signed());
            [device, node, length, meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()]
        }))
    }
}
