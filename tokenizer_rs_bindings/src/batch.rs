//! Many texts on several threads.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::Tokenizer;

impl Tokenizer {
    /// The ids of each text, on `num_threads` threads; 0 is one for each core. The same for any number.
    ///
    /// # Panics
    ///
    /// When memory runs out, or a piece of the text without a break has 4 GiB or more.
    pub fn encode_batch<Text: AsRef<[u8]> + Sync>(
        &self,
        texts: &[Text],
        num_threads: usize,
    ) -> Vec<Vec<u32>> {
        map(texts, num_threads, |text| self.encode(text.as_ref()))
    }

    /// How many ids each text has, on `num_threads` threads; 0 is one for each core.
    ///
    /// # Panics
    ///
    /// When memory runs out, or a piece of the text without a break has 4 GiB or more.
    pub fn count_batch<Text: AsRef<[u8]> + Sync>(&self, texts: &[Text], num_threads: usize) -> Vec<usize> {
        map(texts, num_threads, |text| self.count(text.as_ref()))
    }
}

/// Calls `work` for each item; threads take the next one when they are free, so that unequal ones even out. Where the
/// system gives fewer threads, these do all.
fn map<Item: Sync, Made: Send>(
    items: &[Item],
    num_threads: usize,
    work: impl Fn(&Item) -> Made + Sync,
) -> Vec<Made> {
    let cores = || thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let num_threads = if num_threads == 0 { cores() } else { num_threads }.min(items.len());
    if num_threads <= 1 {
        return items.iter().map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let take_all = || {
        let mut made = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else { return made };
            made.push((at, work(item)));
        }
    };
    let mut all: Vec<(usize, Made)> = thread::scope(|scope| {
        let start = |_| thread::Builder::new().spawn_scoped(scope, take_all).ok();
        let helpers: Vec<_> = (1..num_threads).map_while(start).collect();
        let mut all = take_all();
        for helper in helpers {
            all.extend(helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        all
    });
    all.sort_unstable_by_key(|(at, _)| *at);
    all.into_iter().map(|(_, made)| made).collect()
}
