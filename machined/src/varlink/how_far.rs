//! How far something is that takes time, told until it is done.

use std::cell::Cell;
use std::pin::pin;

use images::Progress;
use serde::Serialize;
use tokio::sync::Notify;
use varlink_server::{Done, ErrorReply, Replier};

/// How far it is.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HowFar {
    bytes: u64,
    files: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_files: Option<u64>,
}

impl From<Progress> for HowFar {
    fn from(Progress { bytes, files, total }: Progress) -> Self {
        let (total_bytes, total_files) = total.unzip();
        Self { bytes, files, total_bytes, total_files }
    }
}

#[derive(Debug, Serialize)]
struct Told {
    id: u64,
    #[serde(flatten)]
    how_far: HowFar,
    done: bool,
}

impl Told {
    fn new((id, progress): (u64, Progress), done: bool) -> Self {
        Self { id, how_far: progress.into(), done }
    }
}

/// Says how far the work is, until it is done. The work is handed what to call with its number and how far it is. It ends when
/// this is dropped, as it is when the connection ends.
pub(super) async fn follow(
    mut replier: Replier,
    work: impl AsyncFnOnce(&mut dyn FnMut(u64, Progress)) -> Result<(), ErrorReply>,
) -> Result<Done, ErrorReply> {
    let (latest, news) = (Cell::new((0, Progress::default())), Notify::new());
    let mut each = |id, progress| {
        latest.set((id, progress));
        news.notify_one();
    };
    let mut work = pin!(work(&mut each));
    loop {
        tokio::select! {
            done = &mut work => {
                done?;
                return replier.reply(&Told::new(latest.get(), true));
            }
            () = news.notified() => replier.send(&Told::new(latest.get(), false)).await?,
        }
    }
}
