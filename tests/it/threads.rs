//! Where no thread can be made, as when the other containers of a pod have used up its processes, names
//! are looked up by the threads that there are.

use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tokio::time::sleep;

use crate::support::{AuthorizationServer, Gatepass, Upstream, get, simple_config};

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_looked_up_where_no_thread_can_be_made() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let named = upstream.origin().replace("127.0.0.1", "localhost");
    let config = simple_config(&provider, &upstream).replace(&upstream.origin(), &named);
    let gatepass = Gatepass::start(&config).ready().await;
    // For as long as threads with nothing to do are commonly kept.
    sleep(Duration::from_secs(11)).await;
    leave_no_room_for_threads(gatepass.pid());
    let answer = get(gatepass.proxy(), "/").await;
    assert_eq!(answer.status(), 200, "{}", answer.body());
    let output = gatepass.output();
    assert!(!output.contains("panicked"), "{output}");
}

/// The limit of processes holds for no superuser. A thread's stack has two megabytes.
fn leave_no_room_for_threads(pid: u32) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let size = status.lines().find_map(|line| line.strip_prefix("VmSize:"));
    let size = size.unwrap().trim().trim_end_matches(" kB");
    let most = Some(size.parse::<u64>().unwrap() * 1024 + (1 << 20));
    let limit = Rlimit {
        current: most,
        maximum: most,
    };
    let pid = Pid::from_raw(pid.try_into().unwrap());
    prlimit(pid, Resource::As, limit).unwrap();
}
