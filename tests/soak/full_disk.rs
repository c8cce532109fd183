//! Promise: a disk that is full costs no request: the session goes on in memory, the log says so, and
//! it is saved as soon as there is room.

use std::fs;
use std::time::Duration;

use crate::support::{
    AuthorizationServer, Gatepass, Reply, Upstream, eventually, get, simple_config, within,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_session_outlives_a_full_disk() {
    let directory = tempfile::tempdir().unwrap();
    let disk = directory.path().join("disk");
    let [freed, has_room] = ["freed", "has-room"].map(|name| directory.path().join(name));
    let seen = directory.path().join("seen");
    fs::create_dir(&disk).unwrap();
    let provider = AuthorizationServer::start();
    let answer = r#"{"access_token":"TOKEN","expires_in":3600,"refresh_token":"REFRESH"}"#;
    provider.otherwise(Reply::Words(3_600.0, answer.into()));
    let upstream = Upstream::start().await;
    upstream.check_tokens(provider.introspection());
    let keys = format!(
        "grant_type = \"password\"\nusername = \"clerk\"\npassword = \"canary-password\"\n\
         session_file = \"{}/session\"\nclient_id",
        disk.display()
    );
    let config = simple_config(&provider, &upstream).replace("client_id", &keys);
    // The disk is the process's own; whoever makes it also empties it, and shows what is on it.
    let mounts = format!(
        "mount -t tmpfs -o size=8k,mode=700 tmpfs {disk}\n\
         head -c 1000000 /dev/zero > {disk}/rest || true\n\
         ( for i in $(seq 300); do [ -e {freed} ] && break; sleep 0.1; done\n\
           rm {disk}/rest && touch {has_room}\n\
           for i in $(seq 300); do grep -q refresh-3 {disk}/session && break; sleep 0.1; done\n\
           cp {disk}/session {seen} ) >/dev/null 2>&1 </dev/null &",
        disk = disk.display(),
        freed = freed.display(),
        has_room = has_room.display(),
        seen = seen.display()
    );
    let gatepass = Gatepass::start_with_mounts(&mounts, &config).ready().await;
    gatepass.output_with("the session goes on, and ends with this process");
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
    gatepass.order_refresh("envase").await;
    provider.wait_for_requests(2).await;
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
    let second = provider.requests()[1].clone();
    assert_eq!(
        second.parameter("refresh_token").unwrap(),
        "canary-refresh-1"
    );

    fs::write(&freed, "").unwrap();
    eventually("there is room", async || has_room.exists()).await;
    gatepass.order_refresh("envase").await;
    within(Duration::from_secs(30), "the third is saved", async || {
        fs::read_to_string(&seen).is_ok_and(|saved| saved.contains("canary-refresh-3"))
    })
    .await;
    assert_eq!(upstream.bad_tokens(), Vec::<String>::new());
}
