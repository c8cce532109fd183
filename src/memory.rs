//! Memory that is not needed any more goes back to the system: a sidecar's price is paid in every
//! pod, and after a burst all the time.

use std::hint::black_box;
use std::time::Duration;

use tokio::time::sleep;

/// glibc's own gives back the end of a thread's heap only, where something always lies
/// (`benches/README.md`). Where gatepass is fuzzed, the sanitizer has one to watch.
#[cfg(not(fuzzing))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Has the allocator give back what has been free for a second, now and then.
///
/// It looks for that when one of its pages becomes free, and at no other time: after a burst the
/// last of them would stay. A block as large as this one is a page of its own, and nothing is ever
/// written to it.
pub async fn give_back() {
    loop {
        sleep(EVERY).await;
        let mut block = Vec::<u8>::new();
        // If there is no room for it, there is next time.
        let _ = black_box(block.try_reserve_exact(LARGE));
        drop(black_box(block));
    }
}

const EVERY: Duration = Duration::from_secs(2);

const LARGE: usize = 1024 * 1024;
